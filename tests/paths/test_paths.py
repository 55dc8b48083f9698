import math

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.forward import forward_intermediates
from featurepaths.networks.resnet import ResNet
from featurepaths.paths.chunks import CHUNK_ROWS, chunks
from featurepaths.paths.equations import (
    centroids,
    centroids_of,
    class_scores,
    cosine_similarity,
    similarities,
    weights_of,
)
from featurepaths.paths.features import extract_blocks
from featurepaths.paths.outputs import model_outputs

CHUNK = CHUNK_ROWS[1]


def whole(features, found):
    """All similarities in one array."""
    return np.concatenate([part for _, part in similarities(features, found)])


def cosine(a, b):
    """Eq. (2), one number at a time."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    lengths = math.sqrt(sum(float(x) ** 2 for x in a)) * math.sqrt(sum(float(y) ** 2 for y in b))
    return dot / lengths if lengths else 0.0


def test_equations_1_and_2_by_hand():
    features = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    labels = np.array([0, 0, 1, 1])
    means = centroids(features, labels, 2)
    # class 0: mean (2, 0); class 1: mean (1, 2), of length sqrt 5
    np.testing.assert_allclose(means, [[1, 0], [1 / math.sqrt(5), 2 / math.sqrt(5)]], rtol=1e-6)
    similarity = whole(np.array([[0.0, 7.0], [-4.0, 0.0]]), means)
    np.testing.assert_allclose(similarity, [[0, 2 / math.sqrt(5)], [-1, -1 / math.sqrt(5)]], atol=1e-6)


def test_similarities_are_cosines_across_chunks():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(CHUNK + 70, 9)).astype(np.float16)
    labels = generator.integers(0, 4, len(features))
    computed = centroids(features, labels, 4)
    means = [[sum(map(float, features[labels == c, d])) / (labels == c).sum() for d in range(9)] for c in range(4)]
    similarity = whole(features, computed)
    for row in (0, 1, CHUNK - 1, CHUNK, CHUNK + 69):
        for c in range(4):
            assert similarity[row, c] == pytest.approx(cosine(features[row], means[c]), abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(computed, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(("width", "rows"), [(9, 512), (2**16, 128), (2**20, 64)])
def test_wide_features_come_in_shorter_chunks(width, rows):
    class Wide:
        shape = 300 if width > 9 else 3000, width

        def __getitem__(self, some):
            return np.zeros((some.stop - some.start, 1), np.float16)

    spans = [span for span, _ in chunks(Wide())]
    assert [span.stop - span.start for span in spans[:-1]] == [rows] * (len(spans) - 1)
    assert [span.start for span in spans[1:]] == [span.stop for span in spans[:-1]]
    assert spans[-1].stop == Wide.shape[0]


def test_a_zero_feature_is_similar_to_nothing():
    means = centroids(np.eye(3), np.arange(3), 3)
    assert (whole(np.zeros((2, 3)), means) == 0).all()


def test_the_length_of_a_feature_does_not_matter():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(20, 5)).astype(np.float32)
    means = centroids(features, np.arange(20) % 4, 4)
    np.testing.assert_allclose(whole(features * 1000, means), whole(features, means), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-35, 1e-25, 1e-20, 1e-10, 1e10, 1e20, 1e30, 1e37])
def test_a_feature_whose_square_float32_cannot_hold_is_no_zero_feature(scale):
    rng = np.random.default_rng(0)
    features, directions = rng.normal(size=(6, 9)).astype(np.float32), centroids_of(rng.normal(size=(4, 9)))
    features[2] = 0
    expected = cosine_similarity(features, directions)
    mixed = features.copy()
    mixed[::2] *= np.float32(scale)
    np.testing.assert_allclose(cosine_similarity(mixed, directions), expected, rtol=1e-4, atol=1e-6)
    if scale >= 1e20:  # in torch, where a second look would cost every search, it is no number
        shown = model_outputs(torch.zeros(6, 4), [torch.from_numpy(mixed)], [torch.from_numpy(directions)]).similarity[
            :, 0
        ]
        assert shown.isnan().all(dim=1).tolist() == [True, False, False, False, True, False]


def test_layers_that_are_not_there_are_named():
    for layers, wrong in (([1, 4], 4), ([0, 1], 0), ([-1], -1)):
        with pytest.raises(FeaturePathsError, match=rf"layer {wrong}\b"):
            class_scores(np.zeros((2, 3, 4)), layers, weights_of("equal", len(layers)))


def test_a_class_without_images_is_named():
    with pytest.raises(FeaturePathsError, match="Class 1 has no image"):
        centroids(np.ones((4, 2)), np.array([0, 2, 2, 0]), 3)


def test_equation_3_by_hand():
    similarity = np.array([[[0.5, 0.1], [0.9, 0.3], [0.2, 0.8]]])  # one image, three layers, two classes
    np.testing.assert_allclose(class_scores(similarity, [1, 3], np.array([0.25, 0.75])), [[0.275, 0.625]])
    np.testing.assert_allclose(class_scores(similarity, [1, 2, 3], weights_of("equal", 3)), [[1.6 / 3, 0.4]])


@pytest.mark.parametrize("pooling", ["flatten", "mean"])
def test_features_are_the_layers_outputs_and_do_not_depend_on_the_cut(pooling):
    torch.manual_seed(0)
    network = ResNet("resnet20", 10, width=4).eval()
    images = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    features = list(extract_blocks(network, network.layer_names, images, ["flatten", "mean"]))
    logits = np.concatenate([part[1] for part in features])
    last = np.concatenate([part[2][pooling][8] for part in features])
    with torch.no_grad():
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
        expected, outputs = forward_intermediates(network, tensor, network.layer_names)
    assert last.dtype == np.float16
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    plain = outputs[8].numpy()
    plain = plain.reshape(100, -1) if pooling == "flatten" else plain.mean(axis=(2, 3))
    np.testing.assert_allclose(last, plain, rtol=2e-3, atol=1e-4)
    alone = list(extract_blocks(network, network.layer_names, images[:64], [pooling]))
    assert alone[0][1].tobytes() == logits[:64].tobytes()
    assert alone[0][2][pooling][8].tobytes() == last[:64].tobytes()


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.layer = nn.Identity()
        self.factor = factor

    def forward(self, images):
        return self.layer(images * self.factor).mean(dim=(2, 3))


def test_features_too_large_for_float16_are_told_not_stored():
    images = np.full((3, 4, 4, 3), 255, np.uint8)
    with pytest.raises(FeaturePathsError, match=r"layer layer .*7e\+04.*65504"):
        list(extract_blocks(Scaled(70000.0), ["layer"], images, ["flatten"]))
    (features,) = extract_blocks(Scaled(65000.0), ["layer"], images, ["flatten"])
    assert features[2]["flatten"][0].max() == 64992, "the nearest float16: their distance is 32 here"


def test_nan_features_are_told():
    images = np.full((3, 4, 4, 3), 255, np.uint8)
    with pytest.raises(FeaturePathsError, match=r"layer layer .*not finite"):
        list(extract_blocks(Scaled(float("nan")), ["layer"], images, ["mean"]))
