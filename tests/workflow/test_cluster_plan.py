"""Plans of an experiment with profiles/slurm, by dry runs: requests of jobs, and the number of submissions."""

import re
from collections import Counter

import pytest

from tests.experiments import ROOT, TINY
from tests.processes import Workflow, jobs

PROFILE = ROOT / "profiles/slurm"
HERE = {"all", "explorer", "tables", "summary_figures", "configuration", "gather_attack"}
"""Rules of GRID that run where Snakemake runs; it has no adaptive attacks."""
GRID = {
    "name": "grid",
    "seeds": [0],
    "shards": {"attacks": 8},
    "data": {"source": "digits"},
    "models": {"resnet20": {"architecture": "resnet20"}, "resnet18": {"architecture": "resnet18"}},
    "training": {"standard": {}, "adversarial": {"adversary": {"method": "single-step", "eps": 0.1}}},
    "attacks": {f"attack{number}": {"eps": f"{number}/100"} for number in range(1, 7)},
    "calibration": {"attack": "attack1", "stopping_rule": "max-loss"},
}


@pytest.fixture
def on_slurm(tmp_path):
    pytest.importorskip("snakemake_executor_plugin_slurm")

    def dry_run(config, *arguments):
        return Workflow(tmp_path, config)("--dry-run", "--profile", str(PROFILE), *arguments)

    return dry_run


def resources(text):
    """Return what each rule's jobs ask for."""
    return re.findall(r"\n(?:local)?rule (\w+):\n(?:    .*\n)*?    resources: (.*)\n", text)


@pytest.mark.parametrize("storage", ["store", "stream"])
def test_every_job_but_the_bookkeeping_asks_for_memory_and_time(on_slurm, storage):
    for rule, requested in resources(on_slurm(TINY | {"features": {"storage": storage}})):
        if rule != "all":
            assert re.search(r"\bmem_mb=\d{3,}", requested), rule
            assert re.search(r"\bruntime=\d+", requested), rule


def test_six_attacks_in_eight_shards_on_twenty_networks_are_less_than_500_submissions(on_slurm):
    """As docs/cluster.md has it; the real SLURM of tests/slurm confirms how groups are counted."""
    seeds = 5
    text = on_slurm(GRID, "--group-components", "shards=8", "extraction=4", "figures=16")
    assert seeds * sum(jobs(text).values()) > 2000
    groups = Counter(re.findall(r"Group job (\w+) ", text))
    alone = Counter(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    assert groups["evaluation"] == 4, "all evaluation of a run is one group"
    # the data are made once; the other rules outside groups and runs are those of the whole experiment
    submitted = seeds * (groups.total() + alone["train"]) + alone["data"]
    assert alone.keys() == {"data", "train"} | HERE
    assert submitted == 266
    assert "266 submissions" in (ROOT / "docs/cluster.md").read_text().replace("\n", " ")
