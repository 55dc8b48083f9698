"""Features that are never stored, against the same features in memory, and against dumps of them."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.forward import forward_intermediates
from featurepaths.paths.chunks import ClassSums, class_means
from featurepaths.paths.collapse import CollapseMeter, measure_collapse
from featurepaths.paths.equations import centroids, centroids_of, cosine_similarity, similarities
from featurepaths.paths.features import extract_blocks, run_blocks
from featurepaths.paths.stream import FeatureStream, Key
from featurepaths.runtime.blocks import blocks
from tests.models import network_and_images

POOLINGS = ["flatten", "mean"]


def streamed(network, images, labels, most_values):
    """Centroids, collapse metrics, similarities and logits, as the stages make them."""
    stream = FeatureStream(network, network.layer_names, images, POOLINGS)
    centres, collapse, similarity, logits = {}, {}, {}, np.empty((len(images), stream.classes))

    def read(keys, see):
        for rows, values in stream.read(keys, see):
            logits[rows] = values

    for keys in stream.passes(most_values):
        sums = {key: ClassSums(stream.classes, stream.widths[key]) for key in keys}
        read(keys, lambda key, rows, features, sums=sums: sums[key].add(features, labels[rows]))
        means = {key: values.means() for key, values in sums.items()}
        meters = {key: CollapseMeter(means[key], sums[key].counts) for key in keys}
        read(keys, lambda key, rows, features, meters=meters: meters[key].add(features, labels[rows]))
        for key in keys:
            centres[key], collapse[key] = centroids_of(means[key]), meters[key].result()
            similarity[key] = np.empty((len(images), stream.classes), np.float32)

    def compare(key, rows, features):
        similarity[key][rows] = cosine_similarity(features, centres[key])

    read(centres, compare)
    return centres, collapse, similarity, logits


@settings(deadline=None, max_examples=12)
@given(st.integers(20, 140), st.integers(2, 5), st.integers(0, 3), st.sampled_from([1, 20_000, 2**28]))
def test_a_stream_gives_what_dumps_give_within_float16(count, classes, seed, most_values):
    network, images = network_and_images(count, classes, seed)
    labels = np.arange(count) % classes
    extracted = streamed(network, images, labels, most_values)
    centres, collapse, similarity, logits = extracted
    assert sorted(centres) == [Key(pooling, layer) for pooling in POOLINGS for layer in range(1, 9)]

    dumped = list(extract_blocks(network, network.layer_names, images, POOLINGS))
    assert logits.astype(np.float32).tobytes() == np.concatenate([part[1] for part in dumped]).tobytes()
    for key in centres:
        features = np.concatenate([part[2][key.pooling][key.layer - 1] for part in dumped])
        expected = centroids(features, labels, classes)
        np.testing.assert_allclose(centres[key], expected, atol=1e-3)
        compared = np.concatenate([part for _, part in similarities(features, expected)])
        np.testing.assert_allclose(similarity[key], compared, atol=1e-3)
        of_dump = measure_collapse(features, labels, classes)
        assert collapse[key].pfc3 == pytest.approx(of_dump.pfc3, abs=2.5 / count)
        # float16 moves a feature by 2^-11 of itself: how much is that where classes differ least?
        whitening = CollapseMeter(class_means(features, labels, classes), np.bincount(labels)).whitening
        moved = 2**-11 * np.linalg.norm(features.astype(float), axis=1).max() * np.linalg.norm(whitening, axis=1).max()
        assert collapse[key].pfc1 == pytest.approx(of_dump.pfc1, rel=4 * moved)
        assert collapse[key].pfc2 == pytest.approx(of_dump.pfc2, abs=4 * moved)


def test_a_stream_gives_what_plain_code_gives_in_float64():
    network, images = network_and_images(150, 3)
    labels = np.arange(150) % 3
    centres, collapse, similarity, _ = streamed(network, images, labels, 2**28)
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        _, outputs = forward_intermediates(network, pixels, network.layer_names)
    for key in centres:
        output = outputs[key.layer - 1].double().numpy()
        features = output.reshape(150, -1) if key.pooling == "flatten" else output.mean(axis=(2, 3))
        means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])
        units = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(centres[key], units, atol=1e-6)
        np.testing.assert_allclose(
            similarity[key], features @ units.T / np.linalg.norm(features, axis=1, keepdims=True), atol=1e-5
        )
        expected = measure_collapse(features.astype(np.float32), labels, 3)
        assert collapse[key].pfc1 == pytest.approx(expected.pfc1, rel=1e-3)
        assert collapse[key].pfc2 == pytest.approx(expected.pfc2, rel=1e-3)
        assert collapse[key].pfc3 == expected.pfc3


@pytest.mark.parametrize("most_values", [1, 600, 9000, 24_000, 2**28])
def test_a_pass_reads_as_many_features_as_there_is_room_for(most_values):
    network, images = network_and_images(3, 4)
    stream = FeatureStream(network, network.layer_names, images, POOLINGS)
    groups = stream.passes(most_values)
    assert sorted(key for keys in groups for key in keys) == sorted(stream.widths)
    sizes = [4 * sum(stream.widths[key] for key in keys) for keys in groups]
    assert all(size <= most_values or len(keys) == 1 for size, keys in zip(sizes, groups, strict=True))
    firsts = [4 * stream.widths[keys[0]] for keys in groups[1:]]
    assert all(size + first > most_values for size, first in zip(sizes, firsts, strict=False)), "no pass too many"


def test_shards_see_what_the_whole_sees():
    network, images = network_and_images(200, 3)
    key = Key("mean", 5)

    def read(rows_of_blocks):
        by_row = {}
        stream = FeatureStream(network, network.layer_names, images, ["mean"], rows_of_blocks=rows_of_blocks)
        for rows, logits in stream.read(
            [key], lambda key, rows, features: by_row.update({rows.start: features.copy()})
        ):
            by_row[rows.start] = by_row[rows.start].tobytes() + logits.tobytes()
        return by_row

    whole, parts = read(None), [read(blocks(200, (number, 3))) for number in (1, 2, 3)]
    assert parts[0] | parts[1] | parts[2] == whole
    assert len(whole) == 4 == sum(map(len, parts))


def test_outputs_of_layers_that_are_done_with_are_gone():
    network = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(6)], nn.Flatten(), nn.Linear(48, 2)).eval()
    recorded, alive = [], []

    def see(name, rows, output):
        alive.append(sum(one() is not None for one in recorded))
        recorded.append(weakref.ref(output))

    layers = [str(number) for number in range(6)]
    assert len(list(run_blocks(network, layers, np.zeros((3, 4, 4, 3), np.uint8), see))) == 1
    assert max(alive) == 1, "the input of the layer that runs"


class Often(nn.Module):
    """A network of a layer that runs `times` in each pass, and may give something that is no number."""

    def __init__(self, times, factor=1.0):
        super().__init__()
        self.layer = nn.Identity()
        self.times, self.factor = times, factor

    def forward(self, images):
        values = images
        for _ in range(self.times):
            values = self.layer(images * self.factor)
        return values.nan_to_num().mean(dim=(2, 3))


def read_all(network):
    stream = FeatureStream(Often(1), ["layer"], np.full((3, 4, 4, 3), 255, np.uint8), ["flatten"])
    stream.network = network
    return list(stream.read([Key("flatten", 1)], lambda *seen: None))


@pytest.mark.parametrize(("times", "said"), [(0, "does not run"), (2, "runs more than once in a pass")])
def test_a_layer_that_does_not_run_once_is_told(times, said):
    assert len(read_all(Often(1))) == 1
    with pytest.raises(FeaturePathsError, match=f"Layer layer {said}"):
        read_all(Often(times))


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -float("inf")])
def test_a_feature_that_is_not_finite_is_told(factor):
    with pytest.raises(FeaturePathsError, match=r"layer layer .*3 images \(0, 1, 2\)"):
        read_all(Often(1, factor))


def test_float16_does_not_limit_what_is_streamed():
    assert len(read_all(Often(1, 1e6))) == 1


def test_sums_of_many_classes_are_those_of_each():
    """Where most classes have no image among some rows, theirs are left alone."""
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(90, 5)).astype(np.float32), generator.permutation(np.arange(90) % 30)
    sums = ClassSums(30, 5)
    for start in range(0, 90, 9):
        sums.add(features[start : start + 9], labels[start : start + 9])
    assert (sums.counts == 3).all()
    for c in range(30):
        np.testing.assert_allclose(sums.means()[c], features[labels == c].astype(float).mean(axis=0), atol=1e-6)


def test_collapse_metrics_of_wide_features_are_accumulated_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 4
    features = (generator.normal(size=(4, 50))[labels] + generator.normal(size=(60, 50))).astype(np.float32)
    whole = measure_collapse(features, labels, 4)
    monkeypatch.setattr("featurepaths.paths.collapse.CHUNK_VALUES", 350)
    parts = measure_collapse(features, labels, 4)
    assert (parts.pfc1, parts.pfc2, parts.pfc3) == pytest.approx((whole.pfc1, whole.pfc2, whole.pfc3), rel=1e-12)
