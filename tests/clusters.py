"""Run an experiment on a cluster of this machine, and change what its jobs do."""

import os
import subprocess
import sys
import time

import yaml

from tests.experiments import ROOT, small_experiment
from tests.services import wait_for

SMALL = small_experiment(
    "small",
    training={"standard": {"epochs": 100, "batch_size": 32, "learning_rate": 0.05, "schedule": "one-cycle"}},
    features={},
)
TRAINING = "small-standard-s0/checkpoint.safetensors"
SAVE_OFTEN = """
if "featurepaths.stages.train" in sys.orig_argv:
    import featurepaths.store.resume
    featurepaths.store.resume.SECONDS_BETWEEN_SAVES = 0.5
"""
"""Lets trainings save their state every half second."""


def hooked(folder, code):
    """Return variables of the environment with which every Python runs some code first, and no other customization."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\n{code}")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)}


class ClusterRun:
    """An experiment that is run through a profile, with further arguments and variables of the environment."""

    def __init__(self, folder, config, profile, *arguments, environment=None):
        self.folder, self.results = folder, folder / "results" / config["name"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self.environment = {**os.environ, **(environment or {})}
        self.command = ["timeout", "--kill-after", "10", "1800", sys.executable, "-m", "snakemake"]
        self.command += ["--directory", folder, "--snakefile", ROOT / "Snakefile"]
        self.command += ["--configfile", folder / "config.yaml", "--profile", ROOT / "profiles" / profile, *arguments]

    def start(self, *arguments):
        self.log = self.folder / f"snakemake.{time.time_ns()}.log"
        words = [str(word) for word in (*self.command, *arguments)]
        with self.log.open("w") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, cwd=ROOT, env=self.environment)

    def __call__(self, *arguments):
        assert self.start(*arguments).wait() == 0, self.log.read_text()[-5000:]

    def wait_for_saved_state(self):
        """Wait until a training has saved its state."""
        wait_for("a saved state", lambda: list(self.results.glob("*/.checkpoint.*.resume")), seconds=180)
