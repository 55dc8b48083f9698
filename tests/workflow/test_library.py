"""The library's class and the workflow are one implementation: what a run counted, the class says."""

import json
import shutil
from itertools import product

import h5py
import numpy as np
import pytest
import torch

from featurepaths import FeaturePathDefense, FeaturePathsError
from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.store.hdf5 import layers_in

STOPPING_RULE = "max-loss"
FLOAT16 = 2**-11
"""How far rounding features to float16 may move similarities, scores and thresholds: as far as one number below 1."""


@pytest.fixture(scope="module", params=product(("standard", "adversarial"), ("flatten", "mean")))
def run(request, tiny):
    """The folder of a run, its pooling, and the images of every kind by the names of their artefacts."""
    training, pooling = request.param
    folder = tiny.results / f"small-{training}-s0"
    results = {}
    with h5py.File(tiny.results / "data.h5") as data:
        for split in ("train", "calibration", "test"):
            rows = np.flatnonzero(data["split"][:] == split.encode())
            pixels = torch.from_numpy(data["images"][rows]).permute(0, 3, 1, 2).float() / 255
            results[split] = pixels, torch.from_numpy(data["labels"][rows])
    for split in ("calibration", "test"):
        with h5py.File(folder / f"attacks/{split}.apgd.h5") as attack:
            examples = torch.from_numpy(attack[STOPPING_RULE]["adversarial"][:])
            results[f"{split}.apgd.{STOPPING_RULE}"] = examples, torch.from_numpy(attack["labels"][:])
    return folder, pooling, results


def batches(images, size=50):
    return list(zip(*(values.split(size) for values in images), strict=True))


def learned(run):
    """The defence, from the network and images alone."""
    folder, pooling, images = run
    network, description = load_checkpoint(folder / "checkpoint.safetensors")
    defense = FeaturePathDefense(network, [layer["name"] for layer in description["layers"]], pooling)
    defense.fit(batches(images["train"]))
    return defense.calibrate(batches(images["calibration"]), batches(images[f"calibration.apgd.{STOPPING_RULE}"]))


@pytest.fixture(scope="module", params=["from_run", "learned"])
def defense(request, run):
    folder, pooling, _ = run
    return learned(run) if request.param == "learned" else FeaturePathDefense.from_run(folder, pooling)


def stored(run):
    """Calibration of the workflow, and its predictions for clean and for adversarial test images."""
    folder, pooling, _ = run
    threshold = json.loads((folder / f"thresholds/{pooling}/feature-paths.held-out.json").read_text())
    selection = json.loads((folder / f"selection/{pooling}/held-out.json").read_text())
    answers = {}
    with (
        h5py.File(folder / f"detection/{pooling}/feature-paths.apgd.{STOPPING_RULE}.h5") as detection,
        h5py.File(folder / f"recognition/{pooling}/feature-paths.apgd.{STOPPING_RULE}.h5") as recognition,
    ):
        for name, kind in (("test", "clean"), (f"test.apgd.{STOPPING_RULE}", "adversarial")):
            score = detection[f"held-out/{kind}_score"][:]
            answers[name] = score, recognition[f"held-out/otsu/{kind}"][:]
    return threshold, selection, answers


def test_it_is_calibrated_as_the_workflow_is(run, defense):
    threshold, selection, _ = stored(run)
    assert list(defense.calibration.layers) == threshold["layers"]
    assert list(defense.calibration.voting_layers) == selection["layers"]
    assert defense.calibration.threshold == pytest.approx(threshold["thresholds"]["otsu"], abs=FLOAT16)
    folder, pooling, _ = run
    with h5py.File(folder / f"centroids/{pooling}.h5") as file:
        for actual, name in zip(defense.centroids, layers_in(file), strict=True):
            np.testing.assert_allclose(actual, file[name][:], atol=FLOAT16)


def test_a_frozen_defence_has_the_very_thresholds_of_the_run(run):
    folder, pooling, _ = run
    for method, expected in stored(run)[0]["thresholds"].items():
        defense = FeaturePathDefense.from_run(folder, pooling, threshold_method=method)
        assert defense.calibration.threshold == expected


def test_clean_images_alone_give_the_workflows_threshold(run):
    folder, pooling, images = run
    frozen = FeaturePathDefense.from_run(folder, pooling).calibrate(batches(images["calibration"]), fpr=0.05)
    expected = stored(run)[0]["thresholds"]["fpr-5"]
    assert frozen.calibration.threshold == pytest.approx(expected, abs=FLOAT16)


def test_it_answers_as_the_workflow_counted(run, defense):
    """Labels and flags are equal. An image that is nearer to the threshold than rounding is left out; there are few."""
    folder, pooling, images = run
    threshold, _, answers = stored(run)
    for name, (score, labels) in answers.items():
        with torch.no_grad():
            prediction, similarity = defense.predict(images[name][0]), defense.paths(images[name][0])
        with h5py.File(folder / f"paths/{pooling}/{name}.h5") as file:
            np.testing.assert_allclose(similarity, file["similarity"][:], atol=FLOAT16)
        np.testing.assert_allclose(prediction.score, score, atol=FLOAT16)
        flagged = score < threshold["thresholds"]["otsu"]
        surely = np.abs(score - threshold["thresholds"]["otsu"]) > FLOAT16
        assert surely.mean() > 0.9
        assert (prediction.flagged.numpy() == flagged)[surely].all()
        assert (prediction.label.numpy() != labels)[surely].sum() <= 1  # a vote may be as close


def test_views_answer_as_it_does_and_soft_answers_mostly_do(run):
    folder, pooling, images = run
    defense = FeaturePathDefense.from_run(folder, pooling)
    for name in ("test", f"test.apgd.{STOPPING_RULE}"):
        batch = images[name][0]
        view, predicted = defense.as_recogniser(), defense.predict(batch)
        with torch.no_grad():
            assert torch.equal(view(batch).argmax(dim=1), predicted.label)
            assert torch.equal(defense.as_detector()(batch).argmax(dim=1) == 10, predicted.flagged)
            soft = view.soft(defense.model_outputs(batch)).argmax(dim=1)
        agreement = (soft == predicted.label).float().mean()
        print(f"{folder.name}, {pooling}, {name}: {agreement:.1%} of the soft answers are the method's")
        assert agreement > (0.75 if pooling == "flatten" else 0.5)


def test_files_of_different_runs_are_refused(tiny, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(tiny.results / "small-standard-s0", mixed, ignore=shutil.ignore_patterns("features", "adaptive"))
    shutil.copy(tiny.results / "small-adversarial-s0/centroids/flatten.h5", mixed / "centroids/flatten.h5")
    with pytest.raises(FeaturePathsError, match="do not belong together"):
        FeaturePathDefense.from_run(mixed)
    shutil.copy(tiny.results / "small-standard-s0/centroids/flatten.h5", mixed / "centroids/flatten.h5")
    with pytest.raises(FeaturePathsError, match=r"config\.json"):
        FeaturePathDefense.from_run(mixed)
    with pytest.raises(FeaturePathsError, match="no threshold best"):
        FeaturePathDefense.from_run(tiny.results / "small-standard-s0", threshold_method="best")
