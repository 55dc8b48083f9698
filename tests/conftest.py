"""What tests share."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest
import yaml
from filelock import FileLock

from featurepaths.store.hdf5 import create_hdf5
from featurepaths.store.provenance import read_origin

ROOT = Path(__file__).parents[1]

# Several processes run tests: each torch is to take one core. Stages set their own threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = {
    "name": "tiny",
    "data": {"source": "digits", "test": 0.1, "calibration": 0.1},
    "models": {"small": {"architecture": "resnet18", "width": 4}},
    "training": {
        "standard": {"epochs": 4, "batch_size": 32, "learning_rate": 0.05, "schedule": "one-cycle"},
        "adversarial": {
            "epochs": 2,
            "batch_size": 32,
            "learning_rate": 0.05,
            "schedule": "one-cycle",
            "adversary": {"method": "single-step", "eps": "1/10"},
        },
    },
    "attacks": {
        "apgd": {"eps": "1/10", "iterations": 5, "stopping_rule": ["first-success", "last-success", "max-loss"]}
    },
    "calibration": {"attack": "apgd", "stopping_rule": "max-loss"},
    "detectors": ["confidence", "path-density"],
    "adaptive": {
        "attack": "apgd",
        "max_images": 64,
        "poolings": ["flatten"],
        "iterations": 3,
        "losses": ["ce"],
        "n_targets": 1,
        "controls": {"max_images": 20, "eps_multiples": [0, 1, 8], "iterations": [2, 4], "n_queries": 20},
    },
}


class Workflow:
    """An experiment in a folder of its own, run by this checkout's Snakefile."""

    def __init__(self, folder, config):
        self.folder = folder
        self.results = folder / "results" / config["name"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    def __call__(self, *arguments, cores=2, succeeds=True, checkout=ROOT, environment=None):
        """Run snakemake, with further variables of the environment, and return all it printed."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile")]
        command += ["--directory", str(self.folder), "--configfile", str(self.folder / "config.yaml")]
        command += ["--cores", str(cores), *arguments]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # jobs call `python`
        environment = {**os.environ, "PATH": path, **(environment or {})}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr


def jobs(text):
    """The rules and counts that a dry run names, without those that only keep the books."""
    if "Nothing to be done" in text:
        return {}
    lines = text.partition("Job stats:")[2].splitlines()
    counted = [line.split() for line in lines[3:]]
    found = {words[0]: int(words[1]) for words in counted[: counted.index([])]}
    return {rule: count for rule, count in found.items() if rule not in ("all", "check", "total")}


@contextmanager
def edit_hdf5(path):
    """Open an HDF5 artefact to change it: it keeps its origin, and gets the checksum of what it holds in the end."""
    with h5py.File(path) as old, create_hdf5(path, read_origin(path)) as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
        yield new


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The results of a tiny experiment with everything in it. Tests read them and leave them as they are.

    The first of several processes that run tests makes them, and the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    with FileLock(f"{folder}.lock"):
        workflow = Workflow(folder, TINY)
        if not (workflow.results / "config.json").exists():
            workflow()
    return workflow
