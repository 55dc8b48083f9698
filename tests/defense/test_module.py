"""The defence as a user has it: learning by batches, answers, files."""

import itertools
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

from featurepaths import FeaturePathDefense, FeaturePathsError
from featurepaths.defense.recognition import Calibration
from featurepaths.detectors.thresholds import otsu
from featurepaths.paths.collapse import layers_before_collapse, measure_collapse
from featurepaths.paths.equations import centroids
from tests.models import CLASSES, LAYERS, Layered, calibrated, fitted, images, layer_features, loader, plain_similarity
from tests.oracles import plain_vote

# Learning


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fit_under_a_mode_without_gradients_is_the_same(mode):
    expected, model = fitted().calibrate(loader(1), fpr=0.1), Layered()
    with mode():
        defense = FeaturePathDefense(model, LAYERS).fit(loader(0)).calibrate(loader(1), fpr=0.1)
    batch, _ = images(5)
    for one, other in zip(defense.predict(batch), expected.predict(batch), strict=True):
        assert torch.equal(one, other)
    batch.requires_grad_()
    defense.score(batch).sum().backward()
    assert batch.grad.abs().sum() > 0


@pytest.mark.parametrize("view", [lambda defense: defense.score, lambda defense: defense.as_recogniser()])
def test_compiled_view_of_a_defense_is_the_same(view):
    defense, (batch, _) = fitted().calibrate(loader(1), fpr=0.1), images(5)
    expected = view(defense)(batch)
    torch.testing.assert_close(torch.compile(view(defense), backend="eager")(batch), expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_layer_that_the_next_module_changes_in_place_is_refused(mode):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(24, CLASSES))
    batch, _ = images(5)
    with mode(), pytest.raises(FeaturePathsError, match="'0' is changed in place"):
        FeaturePathDefense(model, ["0"]).fit(loader(0))
    assert FeaturePathDefense(model, ["1"]).fit(loader(0)).paths(batch).shape == (len(batch), 1, CLASSES)


@pytest.mark.parametrize("of_images", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("of_model", [torch.bfloat16, torch.float32, torch.float64])
def test_images_and_models_of_any_floating_type_are_taken(of_images, of_model):
    def typed(seed):
        return [(each.to(of_images), labels) for each, labels in loader(seed)]

    model = Layered().to(of_model).train()
    defense = FeaturePathDefense(model, LAYERS).fit(typed(0)).calibrate(typed(1), fpr=0.1)
    expected = FeaturePathDefense(Layered(), LAYERS).fit(loader(0)).calibrate(loader(1), fpr=0.1)
    batch, _ = images(20)
    tolerance = 1e-5 if {of_images, of_model} <= {torch.float32, torch.float64} else 0.05
    answers, exact = defense.predict(batch.to(of_images)), expected.predict(batch)
    assert torch.allclose(answers.score, exact.score, atol=tolerance)
    pixels = batch.to(of_images).requires_grad_()
    for view in (defense.as_recogniser(), defense.as_detector()):
        (gradient,) = torch.autograd.grad(view(pixels).sum(), pixels)
        assert gradient.dtype == of_images
        assert gradient.isfinite().all()


@pytest.mark.parametrize("pooling", ["flatten", "mean"])
def test_paths_equal_equations_written_out(pooling):
    batch, _ = images(5)
    if pooling == "mean":  # one channel: all its averages point in the same direction
        assert fitted(pooling, detection_layers=[1]).paths(batch).numpy() == pytest.approx(1)
    else:
        np.testing.assert_allclose(fitted(pooling).paths(batch), plain_similarity(batch, pooling), atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 90))
def test_fit_with_any_batch_size_is_the_same(size):
    split_rows = FeaturePathDefense(Layered(), LAYERS).fit(loader(0, size))
    whole = FeaturePathDefense(Layered(), LAYERS).fit(loader(0, 90))
    assert split_rows.detector.layers == whole.detector.layers
    for actual, expected in zip(split_rows.centroids, whole.centroids, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_fit_centroids_and_layers_equal_the_workflows():
    train, labels = images(0)
    features = [values.astype(np.float32) for values in layer_features(train, "flatten")]
    defense = fitted()
    for actual, values in zip(defense.centroids, features, strict=True):
        np.testing.assert_allclose(actual, centroids(values, labels.numpy(), CLASSES), atol=1e-6)
    pfc3 = [measure_collapse(values, labels.numpy(), CLASSES).pfc3 for values in features]
    assert defense.detector.layers == layers_before_collapse(pfc3, 0.99)


def test_auto_detection_layers_end_before_collapse():
    """With images that differ little the last layer, or more, is collapsed."""
    defense = FeaturePathDefense(Layered(), LAYERS)
    assert defense.fit(loader(0, spread=0.01)).detector.layers == [1]
    assert defense.fit(loader(0, spread=0.5)).detector.layers == [1, 2, 3]


def test_fit_with_named_layers_reads_loader_once():
    defense = FeaturePathDefense(Layered(), LAYERS).fit(iter(loader(0)), detection_layers=[1, 3], weights=[0.25, 0.75])
    batch, _ = images(5)
    similarity = plain_similarity(batch, "flatten")
    expected = (0.25 * similarity[:, 0] + 0.75 * similarity[:, 2]).max(axis=1)
    np.testing.assert_allclose(defense.score(batch), expected, atol=1e-6)


def test_fit_leaves_out_negative_labels():
    extra = (torch.rand(5, 1, 2, 3), torch.full((5,), -1))
    batch, _ = images(5)
    with_them = FeaturePathDefense(Layered(), LAYERS).fit([extra, *loader(0), extra])
    torch.testing.assert_close(with_them.paths(batch), fitted().paths(batch))


@pytest.mark.parametrize("together", [True, False], ids=["one tensor", "a list"])
def test_fit_features_equals_fit(together):
    train, labels = images(0)
    batch, _ = images(5)
    reference = fitted()
    with torch.no_grad():
        of_train, of_some = (
            reference.encoder(values) if together else reference.encoder.features(values)[1]
            for values in (train, batch)
        )
    defense = FeaturePathDefense(Layered(), LAYERS)
    if together:
        with pytest.raises(FeaturePathsError, match="list"):
            defense.fit_features(of_train, labels)
        defense.encoder(batch)  # after which the layers' widths are known
    assert defense.fit_features(of_train, labels) is defense
    assert defense.detector.layers == reference.detector.layers
    torch.testing.assert_close(defense.paths(batch), reference.paths(batch))
    torch.testing.assert_close(defense.predict_features(of_some), -reference.score(batch))
    torch.testing.assert_close(defense(batch), -reference.score(batch))


# Calibration


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(["0", "1/90", "0.05", "0.29", "1/3", "0.9"]))
def test_calibrate_without_adversarial_flags_share_fpr(rate):
    defense = fitted().calibrate(loader(1), fpr=Fraction(rate))
    clean, _ = images(1)
    scores = np.sort(defense.score(clean).numpy())
    allowed = int(Fraction(rate) * 90)
    assert defense.predict(clean).flagged.sum() == allowed
    assert defense.calibration.threshold == pytest.approx(scores[allowed])
    assert defense.calibration.voting_layers == [2, 3]


def test_calibrate_with_adversarial_sets_otsu_threshold_and_best_layers():
    adversarial, labels = images(2, spread=0.6)
    clean, _ = images(1)
    defense = FeaturePathDefense(Layered(), [*LAYERS, "dropout"]).fit(loader(0))
    defense.calibrate(loader(1), loader(2, spread=0.6))
    scores = defense.score(torch.cat([clean, adversarial])).numpy()
    assert defense.calibration.threshold == pytest.approx(otsu(scores))
    accuracy = (defense.paths(adversarial).argmax(dim=2) == labels[:, None]).float().mean(dim=0)
    left_out = ({1, 2, 3, 4} - set(defense.calibration.voting_layers)).pop()
    assert accuracy[left_out - 1] == accuracy.min()
    assert (defense.predict(clean).flagged.numpy() == (scores[:90] < otsu(scores))).all()


@pytest.mark.parametrize("tie_break", ["last-layer", "summed-similarity"])
def test_predict_equals_paper_written_out(tie_break):
    defense = calibrated(voting_layers=[1, 3], voting_weights=[0.5, 0.5], tie_break=tie_break)
    batch, _ = images(6, count=300, spread=0.6)
    label, flagged, score, votes = defense.predict(batch)
    similarity = plain_similarity(batch, "flatten")
    layers = np.array(defense.detector.layers) - 1
    np.testing.assert_allclose(score, similarity[:, layers].mean(axis=1).max(axis=1), atol=1e-6)
    assert (flagged == (score < defense.calibration.threshold)).all()
    assert 0.1 < flagged.float().mean() < 0.9, "neither all nor none"
    assert (votes.numpy() == similarity[:, [0, 2]].argmax(axis=2)).all()
    voted = [plain_vote(one, [1, 3], [0.5, 0.5], tie_break) for one in similarity]
    assert label.tolist() == np.where(flagged, voted, defense.logits(batch).argmax(dim=1)).tolist()


def test_defence_stays_in_evaluation_mode():
    model = Layered().train()
    defense = FeaturePathDefense(model, LAYERS).train()
    assert not any(module.training for module in [*model.modules(), *defense.as_recogniser().train().defense.modules()])


# Files


@pytest.mark.parametrize("pooling", ["flatten", "mean"])
def test_loaded_defence_predicts_the_same(pooling, tmp_path):
    defense = fitted(pooling, detection_layers=np.array([1, 2]), weights=np.array([0.5, 0.5]))
    defense.calibrate(loader(1), tie_break="summed-similarity")
    defense.save(tmp_path / "defense.safetensors")
    read = FeaturePathDefense.load(tmp_path / "defense.safetensors", Layered())
    batch, _ = images(5)
    for actual, expected in zip(read.predict(batch), defense.predict(batch), strict=True):
        assert torch.equal(actual, expected)
    assert read.calibration.tie_break == "summed-similarity"
    with safe_open(tmp_path / "defense.safetensors", "numpy") as file:
        assert sorted(file.keys()) == ["layer1", "layer2", "layer3"]
    assert [path.name for path in tmp_path.iterdir()] == ["defense.safetensors"]


def test_load_with_another_model_is_refused(tmp_path):
    path = tmp_path / "defense.safetensors"
    calibrated().save(path)
    other = Layered()
    with torch.no_grad():
        other.mix[0][0, 0] += 1e-3
    with pytest.raises(FeaturePathsError, match=r"defense\.safetensors"):
        FeaturePathDefense.load(path, other)
    with pytest.raises(FeaturePathsError, match="'blurred'"):
        FeaturePathDefense.load(path, nn.Linear(3, 3))


def test_load_of_invalid_file_is_refused(tmp_path):
    path = tmp_path / "defense.safetensors"
    for content in (None, b"", b"no safetensors"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FeaturePathsError, match=r"defense\.safetensors"):
            FeaturePathDefense.load(path, Layered())


# What goes wrong


def broken(name):
    """A loader of images with something wrong."""
    batch, labels = images(0)
    match name:
        case "a class without images":
            stopping_rule = labels != 1
            return [(batch[stopping_rule], labels[stopping_rule])]
        case "images that are not finite":
            return [
                (batch, labels),
                (batch + torch.where(labels == 2, torch.nan, 0).view(-1, 1, 1, 1), labels),
            ]
        case "no images":
            return []
        case "only other images":
            return [(batch, torch.full_like(labels, -1))]
        case "normalised images":
            return [((batch - 0.5) / 0.25, labels)]
        case "bytes":
            return [((batch * 255).byte(), labels)]
        case "images alone":
            return [batch]
        case "too few labels":
            return [(batch, labels[:-1])]
        case "one-hot labels":
            return [(batch, nn.functional.one_hot(labels))]
        case "too many classes":
            return [(batch, labels + 1)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a class without images", "Class 1 "),
        ("images that are not finite", r"in \[0, 1\]"),
        ("no images", "fit"),
        ("only other images", "fit"),
        ("normalised images", r"in \[0, 1\]"),
        ("bytes", r"in \[0, 1\]"),
        ("images alone", r"\[n, C, H, W\]"),
        ("too few labels", r"\[n, C, H, W\]"),
        ("one-hot labels", r"\[n, C, H, W\]"),
        ("too many classes", "label 3"),
    ],
)
def test_fit_with_invalid_loader_is_refused(name, message):
    with pytest.raises(FeaturePathsError, match=message):
        FeaturePathDefense(Layered(), LAYERS).fit(broken(name))


@pytest.mark.parametrize(
    ("layers", "pooling", "message"),
    [
        (["blurred", "nowhere"], "flatten", "'nowhere'"),
        ([], "flatten", "layers"),
        ("blurred", "flatten", "layers"),
        (["blurred", "blurred"], "flatten", "layers"),
        (["blurred"], "median", "'median'"),
        ([""], "flatten", "''"),
    ],
)
def test_unknown_layers_and_poolings_are_refused(layers, pooling, message):
    with pytest.raises(FeaturePathsError, match=message):
        FeaturePathDefense(Layered(), layers, pooling)


@pytest.mark.parametrize(
    ("layer", "pooling", "message"),
    [
        ("unused", "flatten", "unused"),
        ("pair", "flatten", r"pair returns \[\]"),
    ],
)
def test_layers_without_tensor_output_are_refused(layer, pooling, message):
    with pytest.raises(FeaturePathsError, match=message):
        FeaturePathDefense(Layered(), [layer], pooling).fit(loader(0))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused_by_layer_and_image(bad):
    defense, (batch, labels) = calibrated(), images(5)
    batch[7] = 1.0
    defense.encoder.network.network.pixels.register_forward_hook(
        lambda module, inputs, out: torch.where(inputs[0].amin(dim=(1, 2, 3), keepdim=True) >= 10, bad, out)
    )
    for use in (defense.predict, defense.score, defense.paths, defense):
        with pytest.raises(FeaturePathsError, match=r"layer pixels .*1 image \(7\)"):
            use(batch)
    for view in (defense.as_recogniser(), defense.as_detector()):
        assert view(batch).isnan().all(dim=1).nonzero().flatten().tolist() == [7]
    for learn in (defense.fit, defense.calibrate):
        with pytest.raises(FeaturePathsError, match=r"layer pixels .*1 image \(7\)"):
            learn([(batch, labels)])


def test_features_too_large_for_float32_are_refused_with_and_without_gradient():
    defense, (batch, _) = calibrated(), images(5)
    defense.encoder.network.network.pixels.register_forward_hook(lambda module, inputs, out: 1e30 * out)
    for pixels in (batch, batch.clone().requires_grad_()):
        with pytest.raises(FeaturePathsError, match=r"90 images \(0, .*too large for float32"):
            defense.score(pixels)


def test_fit_to_features_with_gradient_equals_fit_without():
    train, labels = images(0)
    features = [torch.from_numpy(values).float().requires_grad_() for values in layer_features(train, "flatten")]
    batch, _ = images(5)
    defense = FeaturePathDefense(Layered(), LAYERS).fit_features(features, labels)
    torch.testing.assert_close(defense.paths(batch), fitted().paths(batch))


def test_use_before_fit_or_calibrate_is_refused():
    batch, _ = images(5)
    defense = FeaturePathDefense(Layered(), LAYERS)
    for use in (defense.predict, defense.score, defense.paths, defense.as_recogniser(), defense.as_detector()):
        with pytest.raises(FeaturePathsError, match="fit"):
            use(batch)
    with pytest.raises(FeaturePathsError, match="fit"):
        defense.calibrate(loader(1))
    defense.fit(loader(0))
    defense.score(batch)
    for use in (defense.predict, defense.as_recogniser(), defense.as_detector()):
        with pytest.raises(FeaturePathsError, match="calibrate"):
            use(batch)
    with pytest.raises(FeaturePathsError, match="calibrate"):
        defense.save("nowhere.safetensors")
    defense.calibrate(loader(1)).predict(batch)
    with pytest.raises(FeaturePathsError, match="calibrate"):
        defense.fit(loader(0)).predict(batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fpr": 1.5}, "fpr"),
        ({"voting_layers": [0, 1]}, "voting_layers .*1 to 3"),
        ({"voting_layers": [3, 1]}, r"voting_layers .*\[3, 1\]"),
        ({"voting_layers": "all"}, "voting_layers .*1 to 3"),
        ({"voting_layers": [1, 2], "voting_weights": [1.0]}, "voting_weights"),
        ({"voting_weights": "unequal"}, "voting_weights"),
        ({"tie_break": "first"}, "tie_break .*'first'"),
    ],
)
def test_invalid_calibration_options_are_refused(options, message):
    with pytest.raises(FeaturePathsError, match=message):
        fitted().calibrate(loader(1), **options)


def test_auto_detection_layers_with_changing_loader_are_refused():
    with pytest.raises(FeaturePathsError, match="detection_layers"):
        FeaturePathDefense(Layered(), LAYERS).fit(iter(loader(0)))

    class Ends:
        passes = itertools.count()

        def __iter__(self):
            return iter(loader(0) if next(self.passes) == 0 else loader(0)[:2])

    with pytest.raises(FeaturePathsError, match=r"90 .*40 .*detection_layers"):
        FeaturePathDefense(Layered(), LAYERS).fit(Ends())


def test_images_of_another_size_are_refused():
    with pytest.raises(FeaturePathsError, match=r"Layer blurred .*9 .*6"):
        fitted().paths(torch.rand(4, 1, 3, 3))


def test_model_without_parameters_is_refused():
    with pytest.raises(FeaturePathsError, match="parameters"):
        FeaturePathDefense(nn.Sequential(nn.Flatten()), ["0"])


def test_centroids_of_other_layers_are_refused():
    calibration = Calibration([1], np.ones(1), 0.5, [1], np.ones(1))
    with pytest.raises(FeaturePathsError, match=r"centroids .*1 .*3"):
        FeaturePathDefense(Layered(), LAYERS).freeze([torch.eye(3)], calibration)


def test_package_imports_torch_only_for_its_class():
    code = """
import sys, featurepaths
assert "torch" not in sys.modules
from featurepaths import FeaturePathsError
assert "torch" not in sys.modules
assert "FeaturePathDefense" in dir(featurepaths)
from featurepaths import FeaturePathDefense
assert "torch" in sys.modules
try:
    featurepaths.nothing
except AttributeError:
    print("well")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "well\n", done.stderr
