"""What profiles/slurm makes of an experiment, by dry runs: what jobs ask for, and how many submissions there are."""

import re
from collections import Counter
from math import ceil

import pytest
import yaml

from tests.experiments import ROOT, TINY
from tests.processes import Workflow, jobs

PROFILE = ROOT / "profiles/slurm"
HERE = {"tables", "summary_figures", "configuration", "gather_attack"}  # GRID has no adaptive attacks
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

    def dry_run(config):
        profile = ["--workflow-profile", str(PROFILE), "--slurm-partition-config", str(PROFILE / "partitions.yaml")]
        return Workflow(tmp_path, config)("--dry-run", *profile)

    return dry_run


def resources(text):
    """Return what each rule's jobs ask for."""
    return re.findall(r"\n(?:local)?rule (\w+):\n(?:    .*\n)*?    resources: (.*)\n", text)


@pytest.mark.parametrize("storage", ["store", "stream"])
def test_every_job_but_the_bookkeeping_asks_for_memory_and_time(on_slurm, storage):
    for rule, found in resources(on_slurm(TINY | {"features": {"storage": storage}})):
        if rule != "all":
            assert re.search(r"\bmem_mb=\d{3,}", found), rule
            assert re.search(r"\bruntime=\d+", found), rule


def test_six_attacks_in_eight_shards_on_twenty_networks_are_less_than_500_submissions(on_slurm):
    """As docs/cluster.md has it; the real SLURM of tests/slurm confirms how groups are counted."""
    groups = yaml.safe_load((PROFILE / "config.yaml").read_text())["groups"]
    counts = Counter()
    for rule, count in jobs(on_slurm(GRID)).items():
        counts[groups.get(rule, rule)] += 5 * count  # five seeds
    assert sum(counts.values()) > 2000
    runs = 5 * 4  # all evaluation of a run is one group
    del counts["evaluation"]
    submitted = {name: count for name, count in counts.items() if name not in HERE}
    submitted["shards"] = ceil(submitted["shards"] / 8)
    submitted["extraction"] = ceil(submitted["extraction"] / 4)
    submitted["figures"] = ceil(submitted["figures"] / 16)
    submitted["data"] = 1
    assert sum(submitted.values()) + runs == 266
    assert "266 submissions" in (ROOT / "docs/cluster.md").read_text().replace("\n", " ")
