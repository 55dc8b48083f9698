"""The workflow on a real Grid Engine on this machine, through profiles/sge: `make test-sge`."""

import itertools
import os
import re
from collections import defaultdict

import pytest

from tests.clusters import SAVE_OFTEN, SMALL, TRAINING, ClusterRun, hooked
from tests.experiments import RULES_WITH_GPU
from tests.processes import Workflow
from tests.services import run, running, said, wait_for
from tests.sge import cluster

WITH_GPU = RULES_WITH_GPU | {"shards", "extraction"}
"""Rules and groups whose jobs run networks."""
CLAIM = """
if "--device" in sys.orig_argv:
    import atexit, time
    from featurepaths.runtime.devices import claim
    number, start = claim(["test-0", "test-1"]), time.time()
    atexit.register(lambda: print(f"Claimed {number} from {start} to {time.time()}", flush=True))
"""
"""Lets every stage that runs a network claim one of two GPUs that do not exist, by the lock that real ones have."""
CONFIG = SMALL | {"training": {"standard": SMALL["training"]["standard"] | {"epochs": 60}}, "shards": {"attacks": 3}}


@pytest.fixture(scope="module", autouse=True)
def grid_engine(tmp_path_factory):
    if reason := cluster.why_not():
        assert "FEATUREPATHS_SGE" not in os.environ, reason
        pytest.skip(reason)
    with running(cluster, tmp_path_factory.mktemp("sge")):
        yield


def accounted():
    """Return the records of all jobs that have ended, each a dictionary; `kind` is a job's rule or its group."""
    records = []
    for text in re.split(r"^=+$", said("qacct", "-j"), flags=re.MULTILINE):
        fields = [line.split(maxsplit=1) for line in text.splitlines()]
        record = {words[0]: words[1].strip() for words in fields if len(words) == 2}
        if "jobname" in record:  # the last part has the totals
            records.append(record | {"kind": record["jobname"].split("_")[0]})  # group_rule_rule
    return records


def test_experiment_on_grid_engine_resumes_and_has_the_tables_of_a_local_run(tmp_path):
    environment = hooked(tmp_path / "hook", CLAIM + SAVE_OFTEN)
    on_cluster = ClusterRun(tmp_path / "cluster", CONFIG, "sge", "--max-status-checks-per-second", "1",
                            environment=environment)  # fmt: skip
    process = on_cluster.start()
    on_cluster.wait_for_saved_state()
    number = next(line.split()[0] for line in said("qstat").splitlines() if " train " in line)
    run("qdel", number)
    assert process.wait() == 0, on_cluster.log.read_text()[-5000:]
    assert "resumed after" in (on_cluster.results / "small-standard-s0/logs/train.log").read_text()
    on_cluster("--report", str(tmp_path / "report.html"))
    assert "accuracy" in (tmp_path / "report.html").read_text()

    wait_for("the accounting", lambda: len(accounted()) > 1 and not said("qstat"))
    jobs = accounted()
    assert {job["kind"] for job in jobs} >= {"data", "train", "shards", "extraction", "evaluation"}
    for job in jobs:
        requested = re.findall(r"\bgpu=(\d+)", job["category"])
        assert requested == (["1"] if job["kind"] in WITH_GPU else []), job
    failed = [job["kind"] for job in jobs if (job["failed"].split()[0], job["exit_status"].split()[0]) != ("0", "0")]
    assert failed == ["train"], "the one that was killed"

    claims = defaultdict(list)
    for log in on_cluster.results.glob("*/logs/*.log"):
        for device, start, end in re.findall(r"Claimed (\d) from ([\d.]+) to ([\d.]+)", log.read_text()):
            claims[device].append((float(start), float(end)))
    assert claims.keys() == {"0", "1"}
    for device, times in claims.items():
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(sorted(times))), device

    local = Workflow(tmp_path / "local", CONFIG)
    local()
    assert (on_cluster.results / TRAINING).read_bytes() == (local.results / TRAINING).read_bytes()
    tables = sorted((local.results / "tables").glob("*.csv"))
    assert len(tables) > 3
    for table in tables:
        assert (on_cluster.results / "tables" / table.name).read_bytes() == table.read_bytes(), table.name
