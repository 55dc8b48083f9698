"""Overhead of Snakemake: per job, and of dry runs of a hundred to several thousand jobs."""

import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import yaml

from benchmarks.measure import Result, seconds

ROOT = Path(__file__).parents[1]
JOBS = """
rule all:
    input:
        expand("{n}.txt", n=range(int(config["count"]))),


rule one:
    output:
        "{n}.txt",
    shell:
        "touch {output}"
"""


GRID = {
    "name": "grid",
    "seeds": [0, 1, 2, 3, 4],
    "shards": {"attacks": 8},
    "data": {"source": "digits"},
    "models": {"resnet20": {"architecture": "resnet20"}, "resnet18": {"architecture": "resnet18"}},
    "training": {"standard": {}, "adversarial": {"adversary": {"method": "single-step", "eps": 0.1}}},
    "attacks": {f"attack{number}": {"eps": f"{number}/100", "stopping_rule": ["max-loss"]} for number in range(1, 7)},
    "calibration": {"attack": "attack1", "stopping_rule": "max-loss"},
    "features": {"poolings": ["mean"]},
}
"""Two networks, two trainings, five seeds, six attacks in eight shards; one stopping rule and one pooling."""


def measure() -> list[Result]:
    """Return the seconds that Snakemake adds to a job, and those of dry runs of experiments of several sizes."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "Snakefile").write_text(JOBS)
        few, many = 10, 60
        each = []
        for number in range(3):
            took = []
            for count in (few, many):
                where = ["--snakefile", folder / "Snakefile", "--directory", folder / f"{number}.{count}"]
                call = partial(_snakemake, *where, "--cores", 1, "--config", f"count={count}")
                took.append(seconds(call))
            each.append((took[1] - took[0]) / (many - few))
        default = yaml.safe_load((ROOT / "config.yaml").read_text())
        small = {**default, "models": {"resnet18": default["models"]["resnet18"]}}
        plans = [
            _plan(folder, {**small, "seeds": [0]}, 3),
            _plan(folder, {**default, "seeds": list(range(6))}, 3),
            _plan(folder, {**default, "seeds": list(range(29))}, 1),
            _plan(folder, GRID, 3),
        ]
    results = [Result("seconds that Snakemake adds to a job", sorted(each)[1], min(each), max(each))]
    for number, (jobs, took) in enumerate(plans):
        middle = sorted(took)[len(took) // 2]
        target = 6.0 if number == 3 else None
        results.append(
            Result(f"seconds of a dry run, {jobs:,} jobs", middle, min(took), max(took), target, at_most=True)
        )
    (few, first), (some_jobs, second), (most, third), _ = [(jobs, min(took)) for jobs, took in plans]
    growth = (third - first) / (most - few) / ((second - first) / (some_jobs - few))
    results.append(Result("a job planned among 5,000 / among 1,000", growth, growth, growth, 1.3, at_most=True))
    return results


def _plan(folder: Path, config: dict, times: int) -> tuple[int, list[float]]:
    """Return the number of jobs of an experiment, and the seconds of `times` dry runs."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    arguments = ["--snakefile", ROOT / "Snakefile", "--configfile", folder / "config.yaml", "--dry-run"]
    arguments += ["--directory", folder / "dry", "--quiet", "rules"]
    took, text = [], ""
    for _ in range(times):
        start = time.perf_counter()
        text = _snakemake(*arguments)
        took.append(time.perf_counter() - start)
    return int(re.search(r"^total +(\d+)", text, re.M)[1]), took


def _snakemake(*arguments: object) -> str:
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT).stdout
