"""Features that are streamed: the same artefacts as from dumps, within float16's rounding, and no dump."""

import copy
import json
import shutil

import h5py
import numpy as np
import pytest
import yaml

from tests.experiments import TINY
from tests.processes import Workflow, jobs

RUN = "small-standard-s0"
POOLINGS = ["flatten", "mean"]


def streaming(tiny, folder, **changes):
    """An experiment as `tiny`, one training and no adaptive attack, of which the images and the network are there."""
    config = copy.deepcopy(TINY) | {"features": {"storage": "stream"}} | changes
    del config["training"]["adversarial"], config["adaptive"]
    workflow = Workflow(folder, config)
    shutil.copytree(tiny.results / RUN / "attacks", workflow.results / RUN / "attacks")
    for name in ("data.h5", f"{RUN}/checkpoint.safetensors", f"{RUN}/training.csv"):
        shutil.copy(tiny.results / name, workflow.results / name)
    return workflow


@pytest.fixture(scope="module")
def streamed(tiny, tmp_path_factory):
    """Folders of the results from streamed features and from dumps."""
    workflow = streaming(tiny, tmp_path_factory.mktemp("streamed"))
    ends = ["paths/{}/test.h5", "paths/{}/test.apgd.max-loss.h5", "detection/{}/detector_evaluation.json"]
    workflow(*(f"results/tiny/{RUN}/{end.format(pooling)}" for end in ends for pooling in POOLINGS))
    return workflow.results / RUN, tiny.results / RUN


def both(streamed, name):
    """The data sets of an artefact of both."""
    datasets = []
    for run in streamed:
        with h5py.File(run / name) as file:
            names = []
            file.visit(names.append)
            datasets.append({name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)})
    assert datasets[0].keys() == datasets[1].keys()
    return datasets


def test_nothing_is_dumped(streamed):
    assert not (streamed[0] / "features").exists()
    assert (streamed[1] / "features").exists()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_centroids_and_paths_are_those_of_dumps(streamed, pooling):
    actual, expected = both(streamed, f"centroids/{pooling}.h5")
    np.testing.assert_array_equal(actual.pop("counts"), expected.pop("counts"))
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-4)
    for images in ("calibration", "calibration.apgd.max-loss", "test", "test.apgd.max-loss"):
        actual, expected = both(streamed, f"paths/{pooling}/{images}.h5")
        np.testing.assert_allclose(actual.pop("similarity"), expected.pop("similarity"), atol=1e-3)
        for name in ("logits", "labels", "index"):
            assert actual[name].tobytes() == expected[name].tobytes(), "the same network and images"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_collapse_metrics_are_those_of_dumps(streamed, pooling):
    actual, expected = (json.loads((run / f"collapse/{pooling}.json").read_text())["layers"] for run in streamed)
    assert [one["layer"] for one in actual] == [one["layer"] for one in expected] == list(range(1, 9))
    for one, other in zip(actual, expected, strict=True):
        assert one["pfc1"] == pytest.approx(other["pfc1"], rel=1e-3)
        assert one["pfc2"] == pytest.approx(other["pfc2"], rel=1e-3)
        assert one["pfc3"] == pytest.approx(other["pfc3"], abs=5e-3)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_detectors_are_those_of_dumps(streamed, pooling):
    actual, expected = both(streamed, f"detectors/{pooling}.h5")
    for name in expected:
        if name.endswith("calibration_score"):
            assert np.corrcoef(actual[name], expected[name])[0, 1] > 0.999
    actual, expected = (
        json.loads((run / f"detection/{pooling}/detector_evaluation.json").read_text()) for run in streamed
    )
    assert [one["detector"] for one in actual["detectors"]] == [one["detector"] for one in expected["detectors"]]
    for one, other in zip(actual["detectors"], expected["detectors"], strict=True):
        for mine, theirs in zip(one["evaluations"], other["evaluations"], strict=True):
            assert [mine[key] for key in ("attack", "stopping_rule", "n")] == [
                theirs[key] for key in ("attack", "stopping_rule", "n")
            ]
            assert mine["ranking"]["auroc"] == pytest.approx(theirs["ranking"]["auroc"], abs=5e-3)


def test_nothing_runs_again(streamed):
    """The plan knows that the images of training and calibration come from one file."""
    folder = streamed[0].parents[2]
    workflow = Workflow(folder, yaml.safe_load((folder / "config.yaml").read_text()))
    targets = [f"results/tiny/{RUN}/detection/{pooling}/detector_evaluation.json" for pooling in POOLINGS]
    assert jobs(workflow("--dry-run", *targets)) == {}


@pytest.mark.parametrize("shards", [2, 5])
def test_gathered_paths_are_those_of_one_job_to_the_byte(streamed, tiny, tmp_path, shards):
    workflow = streaming(tiny, tmp_path, shards={"features": shards})
    for folder in ("centroids", "collapse"):
        shutil.copytree(streamed[0] / folder, workflow.results / RUN / folder)
    targets = [f"paths/mean/{images}.h5" for images in ("test", "test.apgd.max-loss")]
    arguments = [f"results/tiny/{RUN}/{target}" for target in targets]
    assert jobs(workflow("--dry-run", *arguments)) == {"streamed_paths": 2 * shards, "gather_paths": 2}
    workflow(*arguments)
    for target in targets:
        assert (workflow.results / RUN / target).read_bytes() == (streamed[0] / target).read_bytes()
    assert not list(workflow.results.rglob("*-of-*.h5")), "shards are temporary"
