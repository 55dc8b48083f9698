"""Every stage on a GPU beside the CPU: from the same weights and inputs, at least 99.9 % of all labels are equal."""

import copy
import os
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from tests.experiments import TINY
from tests.gpu.device import DEVICE
from tests.processes import Workflow, options, wait_for

EQUAL = 0.999
NETWORKS = ["checkpoint.safetensors", "training.csv"]
SAVE_OFTEN = """
import runpy
import featurepaths.store.resume as resume
resume.SECONDS_BETWEEN_SAVES = 0.2
runpy.run_module("featurepaths.stages.train", run_name="__main__")
"""


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    """A finished experiment, all of it computed on the CPU."""
    workflow = Workflow(tmp_path_factory.mktemp("cpu"), TINY | {"device": "cpu"})
    workflow()
    return workflow


def continued(cpu, folder, *kept):
    """Run the experiment on the GPU, from the data and the `kept` files of a run on the CPU, and return it."""
    gpu = Workflow(folder, TINY | {"device": DEVICE})
    for pattern in ("data.h5", *(f"*-s0/{name}" for name in kept)):
        for path in cpu.results.glob(pattern):
            copy = gpu.results / path.relative_to(cpu.results)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    gpu()
    for name in kept:
        for path in cpu.results.glob(f"*-s0/{name}"):
            assert (gpu.results / path.relative_to(cpu.results)).read_bytes() == path.read_bytes()
    logs = [path.read_text() for path in gpu.results.glob("*-s0/logs/*.log")]
    assert any(f"Device: {DEVICE}" in log for log in logs)
    return gpu


def datasets_of(path):
    """Return the arrays of an HDF5 file by their names."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[:]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def values_of(workflow, name):
    """Return all labels and flags in a file of every run, by run and data set, and the predictions of its logits."""
    values = {}
    for path in sorted(workflow.results.glob(f"*-s0/{name}")):
        run = path.relative_to(workflow.results).parts[0]
        for dataset, item in datasets_of(path).items():
            if item.dtype.kind in "biu":
                values[run, dataset] = item
            elif dataset == "logits":
                values[run, dataset] = item.argmax(axis=1)
    assert values, name
    return values


@pytest.mark.parametrize(
    "name",
    [
        "paths/flatten/test.h5",
        "paths/mean/test.h5",
        "paths/flatten/test.apgd.first-success.h5",
        "paths/flatten/test.apgd.max-loss.h5",
        "recognition/flatten/feature-paths.apgd.max-loss.h5",
    ],
)
def test_stages_after_the_attacks_label_as_on_the_cpu(cpu, after_attacks, name):
    ours, theirs = (values_of(workflow, name) for workflow in (after_attacks, cpu))
    assert ours.keys() == theirs.keys()
    assert np.mean(np.concatenate([ours[key] == theirs[key] for key in ours], axis=None)) >= EQUAL


@pytest.fixture(scope="module")
def after_attacks(cpu, tmp_path_factory):
    """The experiment on the GPU, from the networks and adversarial images of the CPU."""
    return continued(cpu, tmp_path_factory.mktemp("gpu") / "attacks", *NETWORKS, "attacks/*.h5")


def test_attacks_succeed_as_often_as_on_the_cpu(cpu, tmp_path):
    """Signs of gradients near 0 differ, and so do steps; the images that they fool hardly do."""
    gpu = continued(cpu, tmp_path, *NETWORKS)
    for name in ("attacks/test.apgd.h5", "adaptive/flatten.h5"):
        ours, theirs = (values_of(workflow, name) for workflow in (gpu, cpu))
        for key in [key for key in ours if key[1] in ("success", "defended/adaptive", "undefended/adaptive")]:
            assert abs(ours[key].mean() - theirs[key].mean()) <= 0.05, (name, key)


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16"}, {"compile": True}])
def test_training_learns_as_on_the_cpu(cpu, tmp_path, changes):
    """On a GPU bfloat16 is channels-last."""
    training = {name: section | changes for name, section in TINY["training"].items()}
    gpu = Workflow(tmp_path, TINY | {"device": DEVICE, "training": training})
    gpu("--until", "train")
    for path in gpu.results.glob("*-s0/training.csv"):
        ours, theirs = (pd.read_csv(each) for each in (path, cpu.results / path.relative_to(gpu.results)))
        assert ours["accuracy"].iloc[-1] == pytest.approx(theirs["accuracy"].iloc[-1], abs=0.1), path
        assert f"Device: {DEVICE}" in (path.parent / "logs/train.log").read_text()


def test_killed_training_resumes(cpu, tmp_path):
    config = copy.deepcopy(TINY) | {"device": DEVICE}
    config["training"]["standard"]["epochs"] = 60
    params = Plan(read_experiment(config)).checkpoint("small-standard-s0").params
    files = {"checkpoint": tmp_path / "checkpoint.safetensors", "training": tmp_path / "training.csv"}
    words = options(params, device=DEVICE, data=cpu.results / "data.h5", **files)
    command = [sys.executable, "-c", SAVE_OFTEN, *map(str, words)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.glob(".checkpoint.*.resume")), running=first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not files["checkpoint"].exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert "resumed after" in again.stdout
    assert len(pd.read_csv(files["training"])) == 60
