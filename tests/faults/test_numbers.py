"""Numbers that are none, and experiments at the edge of having any: an error that says so, or a defined result."""

import copy
import json
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from featurepaths.detectors.thresholds import at_false_positive_rate, otsu
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from featurepaths.library.defense import FeaturePathDefense
from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.networks.resnet import ResNet
from featurepaths.paths.features import extract_blocks
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.metrics import measure
from featurepaths.store.tensors import read_tensors, write_tensors
from tests.experiments import TINY, array_experiment, save_arrays
from tests.processes import Workflow, command, finish, refused

RUN = "small-standard-s0"
NOT_FINITE = "feature or logit that is NaN or infinite"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_checkpoint_weights_not_finite_refused_with_tensor_name(tiny, tmp_path, value, faults):
    tensors, description = read_tensors(tiny.results / RUN / "checkpoint.safetensors")
    refusals = 0
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            broken = tensor.clone()
            broken.view(-1)[-1] = value
            write_tensors(tmp_path / "checkpoint.safetensors", tensors | {name: broken}, description)
            with pytest.raises(FeaturePathsError, match=re.escape(name)):
                load_checkpoint(tmp_path / "checkpoint.safetensors")
            refusals += 1
    faults("weight that is NaN or infinite", refusals, "refused, with the tensor's name")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ResNet("resnet18", 10, width=4).eval()


LOADER = [(torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10)]
GREY = np.full((3, 32, 32, 3), 128, np.uint8)


def break_weight(network, name, value):
    with torch.no_grad():
        network.get_parameter(name).view(-1)[0] = value


def extracted(network):
    return list(extract_blocks(network, network.layer_names, GREY, ["mean"]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_network_logits_not_finite_refused(network, value, faults):
    break_weight(network, "classifier.bias", value)
    with pytest.raises(FeaturePathsError, match="logits"):
        extracted(network)
    defense = FeaturePathDefense(network, network.layer_names, "mean").fit(LOADER, detection_layers=[1])
    with pytest.raises(FeaturePathsError, match="logits"):
        defense.predict(LOADER[0][0])
    faults(NOT_FINITE, 2, "refused")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])  # a ReLU makes 0 of minus infinity
def test_network_features_not_finite_refused_with_layer(network, value, faults):
    broken, first = "blocks.3", network.layer_names.index("blocks.3")
    name = next(name for name, _ in network.named_parameters() if name.startswith(broken))
    break_weight(network, name, value)
    with pytest.raises(FeaturePathsError, match=rf"{broken}\b"):
        extracted(network)
    defense = FeaturePathDefense(network, network.layer_names, "mean")
    with pytest.raises(FeaturePathsError, match=rf"{broken}\b"):
        defense.fit(LOADER, detection_layers=[1])
    defense = FeaturePathDefense(network, network.layer_names[:first], "mean")
    with pytest.raises(FeaturePathsError, match="logits"):
        defense.fit(LOADER, detection_layers=[1]).predict(LOADER[0][0])
    faults(NOT_FINITE, 3, "refused")


def test_network_features_too_large_refused_with_layer_or_image(network, faults):
    """Features of some 1e29 are finite in float32. No dump can hold them, and neither can float32 their squares."""
    break_weight(network, "stem.0.weight", 1e30)
    with pytest.raises(FeaturePathsError, match=r"blocks\.0\b.*e\+\d\d.*float16"):
        extracted(network)
    defense = FeaturePathDefense(network, network.layer_names, "mean").fit(LOADER, detection_layers=[1])
    with torch.no_grad(), pytest.raises(FeaturePathsError, match=r"\b0\b.*float32"):
        defense.score(LOADER[0][0])
    faults("feature too large for float16 or float32", 2, "refused, with its layer or image")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -0.1])
def test_images_outside_zero_to_one_refused(network, value, faults):
    defense = FeaturePathDefense(network, network.layer_names, "mean")
    images, labels = LOADER[0]
    images = images.clone()
    images[7, 1, 5, 5] = value
    with pytest.raises(FeaturePathsError, match=r"\[0, 1\].*\b7\b"):
        defense.fit([(images, labels)])
    faults("image with a value that is NaN, infinite or outside of [0, 1]", 1, "refused, with its number")


def test_training_diverging_refused_with_learning_rate(tiny, tmp_path, faults):
    config = copy.deepcopy(TINY)
    config["training"]["standard"]["learning_rate"] = 1e6
    params = Plan(read_experiment(config)).checkpoint(RUN).params
    paths = {"checkpoint": tmp_path / "checkpoint.safetensors", "training": tmp_path / "training.csv"}
    done = finish(command("train", params, device="cpu", data=tiny.results / "data.h5", **paths))
    refused(done, "learning_rate")
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    faults("training that diverges", 1, "stops with its reason; no checkpoint")


def test_scores_all_equal_measured_or_refused(faults):
    constant = np.full(50, 0.3)
    with pytest.raises(FeaturePathsError, match=r"0\.3|same"):
        otsu(np.concatenate([constant, constant]))
    threshold = at_false_positive_rate(constant, Fraction(1, 20))
    assert not (constant < threshold).any()
    everything = np.ones(50, bool)
    measured = measure(constant, constant, groups_of(everything, ~everything), {"fpr": threshold})
    assert json.dumps(measured, default=float)
    text = json.dumps(measured, default=float)
    assert "NaN" not in text
    assert '"auroc": 0.5' in text
    faults(
        "detector whose score is constant",
        1,
        "Otsu's threshold is refused by name; AUROC 0.5, nothing flagged at a false positive rate",
    )


def test_defence_class_without_images_refused_with_class():
    network = ResNet("resnet18", 3, width=4).eval()
    module = FeaturePathDefense(network, network.layer_names, "mean")
    with pytest.raises(FeaturePathsError, match=r"(?i)class 1\b"):
        module.fit([(torch.rand(2, 3, 32, 32), torch.tensor([0, 2]))], detection_layers=[1])
    module.fit([(torch.rand(3, 3, 32, 32), torch.arange(3))], detection_layers=[1])
    module.calibrate([(torch.rand(1, 3, 32, 32), torch.tensor([0]))])
    assert len(module.predict(torch.rand(1, 3, 32, 32)).label) == 1


@pytest.mark.parametrize(
    ("what", "count", "classes", "test", "calibration", "batch", "expected"),
    [
        ("a batch larger than the data", 40, 4, 40, 0, 4096, None),
        ("more classes than images of a batch", 60, 30, 60, 0, 8, None),
        ("one test image", 40, 4, 1, 0, 16, r"(?i)test.*\bclass 1\b"),
        ("one image of each class", 4, 4, 4, 0, 2, None),
        ("a class without a training image", 39, 40, 39, 0, 16, r"(?i)\bclass 39\b"),
    ],
)
def test_experiment_at_the_edge_runs_or_refuses(
    tmp_path, what, count, classes, test, calibration, batch, expected, faults
):
    config = array_experiment(calibration, batch, calibration=None)
    if expected:
        config["data"]["class_names"] = [str(number) for number in range(classes)]
    workflow = Workflow(tmp_path, config)
    save_arrays(tmp_path, count, classes, test)
    text = workflow(succeeds=expected is None)
    assert "Traceback" not in text
    if expected:
        assert re.search(expected, text)
    else:
        table = (workflow.results / "tables/accuracy.csv").read_text()
        assert len(table.splitlines()) > 1
        assert "nan" not in table.lower()
    faults(f"experiment with {what}", 1, "one clear message" if expected else "runs to its tables")
