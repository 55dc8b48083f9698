"""Numbers that are none, and experiments at the edge of having any: an error that says so, or a defined result."""

import copy
import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from featurepaths.defense.module import FeaturePathDefense
from featurepaths.detectors.thresholds import at_false_positive_rate, otsu
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.networks.resnet import ResNet
from featurepaths.paths.features import extract_blocks
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.metrics import measure
from featurepaths.store.tensors import read_tensors, write_tensors
from tests.experiments import TINY, array_experiment, save_arrays
from tests.processes import Workflow, command, finish, refused

RUN = "small-standard-s0"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(tiny, tmp_path, value, faults):
    tensors, description = read_tensors(tiny.results / RUN / "checkpoint.safetensors")
    refusals = 0
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            broken = tensor.clone()
            broken.view(-1)[-1] = value
            write_tensors(tmp_path / "checkpoint.safetensors", tensors | {name: broken}, description)
            with pytest.raises(FeaturePathsError, match="not a finite number") as told:
                load_checkpoint(tmp_path / "checkpoint.safetensors")
            assert name in str(told.value)
            refusals += 1
    faults("weight that is NaN or infinite", refusals, "refused, with the tensor's name")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_network_whose_features_are_no_numbers_is_refused(value, faults):
    network = ResNet("resnet18", 10, width=4).eval()
    with torch.no_grad():
        network.classifier.bias[0] = value if value != 1e30 else float("inf")
    images = np.zeros((3, 32, 32, 3), np.uint8)
    with pytest.raises(FeaturePathsError, match="not finite"):
        list(extract_blocks(network, network.layer_names, images, ["mean"]))
    defense = FeaturePathDefense(network, network.layer_names, "mean")
    loader = [(torch.rand(20, 3, 32, 32), torch.arange(20) % 10)]
    defense.fit(loader, detection_layers=[1])
    with pytest.raises(FeaturePathsError, match="not finite"):
        defense.predict(torch.rand(2, 3, 32, 32))
    with pytest.raises(FeaturePathsError, match=r"\[0, 1\]"):
        defense.fit([(torch.full((20, 3, 32, 32), value), torch.arange(20) % 10)])
    faults("image, feature or logit that is NaN or infinite", 3, "refused")


def test_a_training_that_diverges_says_why(tiny, tmp_path, faults):
    config = copy.deepcopy(TINY)
    config["training"]["standard"]["learning_rate"] = 1e6
    params = Plan(read_experiment(config)).checkpoint(RUN).params
    made = {"checkpoint": tmp_path / "checkpoint.safetensors", "training": tmp_path / "training.csv"}
    done = finish(command("train", params, device="cpu", data=tiny.results / "data.h5", **made))
    refused(done, "Training diverged", "Lower learning_rate")
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    faults("training that diverges", 1, "stops with its reason; no checkpoint")


def test_scores_that_tell_nothing_apart_have_defined_results(faults):
    constant = np.full(50, 0.3)
    with pytest.raises(FeaturePathsError, match="all score the same"):
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


def test_one_image_and_a_class_without_images():
    network = ResNet("resnet18", 3, width=4).eval()
    made = FeaturePathDefense(network, network.layer_names, "mean")
    with pytest.raises(FeaturePathsError, match="Class 1 has no image"):
        made.fit([(torch.rand(2, 3, 32, 32), torch.tensor([0, 2]))], detection_layers=[1])
    made.fit([(torch.rand(3, 3, 32, 32), torch.arange(3))], detection_layers=[1])
    made.calibrate([(torch.rand(1, 3, 32, 32), torch.tensor([0]))])
    assert len(made.predict(torch.rand(1, 3, 32, 32)).label) == 1


@pytest.mark.parametrize(
    ("what", "count", "classes", "test", "calibration", "batch", "expected"),
    [
        ("a batch larger than the data", 40, 4, 40, 0, 4096, None),
        ("more classes than images of a batch", 60, 30, 60, 0, 8, None),
        ("one test image", 40, 4, 1, 0, 16, "The test split has no image of class 1"),
        ("one image of each class", 4, 4, 4, 0, 2, None),
        ("a class without a training image", 39, 40, 39, 0, 16, "no image"),
    ],
)
def test_experiments_at_the_edge(tmp_path, what, count, classes, test, calibration, batch, expected, faults):
    config = array_experiment(calibration, batch, calibration=None)
    if expected:
        config["data"]["class_names"] = [str(number) for number in range(classes)]
    workflow = Workflow(tmp_path, config)
    save_arrays(tmp_path, count, classes, test)
    text = workflow(succeeds=expected is None)
    assert "Traceback" not in text
    if expected:
        assert expected in text
    else:
        table = (workflow.results / "tables/accuracy.csv").read_text()
        assert len(table.splitlines()) > 1
        assert "nan" not in table.lower()
    faults(f"experiment with {what}", 1, "one clear message" if expected else "runs to its tables")
