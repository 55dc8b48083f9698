"""The workflow on a real SLURM on this machine, through profiles/slurm: `make test-slurm`."""

import copy
import csv
import io
import itertools
import os
import re
import signal
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime

import pytest
import yaml

from tests.clusters import SAVE_OFTEN, SMALL, TRAINING, ClusterRun, hooked
from tests.experiments import ROOT
from tests.processes import Workflow
from tests.services import run as run_command
from tests.services import running, said, wait_for
from tests.slurm import cluster

WITH_GPU = {"train", "shards", "extraction", "adaptive", "controls"}
"""Rules and groups of profiles/slurm whose jobs run networks."""


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    if reason := cluster.why_not():
        assert "FEATUREPATHS_SLURM" not in os.environ, reason
        pytest.skip(reason)
    with running(cluster, tmp_path_factory.mktemp("slurm")):
        yield


def cluster_run(folder, config, *arguments, environment=None):
    """Return an experiment that is run through profiles/slurm, with a status check every two seconds."""
    often = ["--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2"]
    return ClusterRun(folder, config, "slurm", *often, *arguments, environment=environment)


@dataclass(frozen=True)
class Job:
    """A job in the accounting; `kind` is its rule, or its group."""

    number: int
    kind: str
    state: str
    gpus: int
    typed_gpus: int
    mb: int
    start: datetime
    end: datetime


def accounted(since):
    """Return the jobs that ended since some time."""
    columns = "JobIDRaw,State,AllocTRES,Comment,Start,End,ReqMem"
    text = said("sacct", "-P", "-X", "-S", since.isoformat(timespec="seconds"), "-o", columns)
    jobs = []
    for row in csv.DictReader(io.StringIO(text), delimiter="|"):
        gpus, typed = (re.search(rf"gres/gpu{kind}=(\d+)", row["AllocTRES"]) for kind in ("", f":{cluster.MODEL}"))
        counts = int(gpus[1]) if gpus else 0, int(typed[1]) if typed else 0
        kind = row["Comment"].split("_")[1]
        times = datetime.fromisoformat(row["Start"]), datetime.fromisoformat(row["End"])
        jobs.append(Job(int(row["JobIDRaw"]), kind, row["State"], *counts, int(row["ReqMem"].rstrip("M")), *times))
    return jobs


def default_experiment():
    """The default experiment, all of its jobs, with less to do in each."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for training in config["training"].values():
        training["epochs"] = 2
    config["attacks"]["apgd"]["iterations"] = 5
    controls = {"max_images": 16, "eps_multiples": [0, 1], "iterations": [2, 3], "n_queries": 10}
    config["adaptive"] |= {"max_images": 64, "iterations": 3, "losses": ["ce"], "controls": controls}
    return config


def test_default_experiment_on_cluster_same_tables_as_local_run(tmp_path):
    config = default_experiment()
    since = datetime.now()
    typed = ["--default-resources", f"gpu_resources=gpu_model={cluster.MODEL}"]
    on_cluster = cluster_run(tmp_path / "cluster", config, *typed)
    on_cluster()
    on_cluster("--report", str(tmp_path / "report.html"))
    assert "accuracy" in (tmp_path / "report.html").read_text()
    jobs = accounted(since)
    assert {job.state for job in jobs} == {"COMPLETED"}
    for job in jobs:
        assert job.gpus == job.typed_gpus == (job.kind in WITH_GPU), job
    expected = {"data": 1, "train": 4, "shards": 4 * 2, "extraction": 4 * (1 + 4), "evaluation": 4}
    expected |= {"adaptive": 4, "controls": 4, "figures": 1}
    assert Counter(job.kind for job in jobs) == expected, "everything else ran here"

    # the device of each job that runs a network, by its log
    devices = {}
    for log in on_cluster.results.glob("*/logs/*.log"):
        if ids := re.search(r"CUDA_VISIBLE_DEVICES=(\d), SLURM_JOB_ID=(\d+)", log.read_text()):
            devices[int(ids[2])] = ids[1]
    assert devices.keys() == {job.number for job in jobs if job.gpus}
    for device in set(devices.values()):
        times = sorted((job.start, job.end) for job in jobs if devices.get(job.number) == device)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times)), device
    assert set(devices.values()) == {"0", "1"}

    local = Workflow(tmp_path / "local", config)
    local()
    for table in sorted((local.results / "tables").glob("*.csv")):
        assert (on_cluster.results / "tables" / table.name).read_bytes() == table.read_bytes(), table.name
    assert "Nothing to be done" in Workflow(on_cluster.folder, config)(), "the workstation reuses the cluster's results"


def test_shards_of_group_run_in_turn_on_one_gpu(tmp_path):
    config = copy.deepcopy(SMALL) | {"shards": {"attacks": 3}}
    config["training"]["standard"]["epochs"] = 1
    since = datetime.now()
    run = cluster_run(tmp_path, config)
    attacks = run.results.relative_to(tmp_path) / "small-standard-s0/attacks"
    targets = [str(attacks / f"{split}.apgd.h5") for split in ("calibration", "test")]
    run("--group-components", "shards=3", "--", *targets)
    jobs = accounted(since)
    assert [job.gpus for job in jobs if job.kind == "train"] == [1]
    groups = [job for job in jobs if job.kind == "shards"]
    assert len(groups) == 2, "six shards, three per group"
    assert [job.gpus for job in groups] == [1, 1]
    # the log of a shard was last written when it ended, and its benchmark says how long it took
    turns = defaultdict(list)
    for log in run.results.glob("*/logs/attack.*.log"):
        benchmark = log.parents[1] / "benchmarks" / log.with_suffix(".tsv").name
        took = float(benchmark.read_text().splitlines()[1].split("\t")[0])
        number = re.search(r"SLURM_JOB_ID=(\d+)", log.read_text())[1]
        turns[number].append((log.stat().st_mtime - took, log.stat().st_mtime))
    assert sorted(map(len, turns.values())) == [3, 3]
    for times in turns.values():
        assert all(end <= start + 1 for (_, end), (start, _) in itertools.pairwise(sorted(times)))


def test_job_killed_for_memory_retried_with_more(tmp_path):
    config = copy.deepcopy(SMALL)
    config["training"]["standard"]["epochs"] = 30
    since = datetime.now()
    run = cluster_run(tmp_path, config)
    run("--set-resources", "train:mem_mb=attempt*400", "--", str(run.results.relative_to(tmp_path) / TRAINING))
    jobs = [job for job in accounted(since) if job.kind == "train"]
    assert len(jobs) > 1
    assert [job.state for job in jobs][-1] == "COMPLETED"
    assert "COMPLETED" not in [job.state for job in jobs][:-1]
    assert {job.state for job in jobs[:-1]} <= {"FAILED", "OUT_OF_MEMORY"}


FAIL_TWICE = """
if "featurepaths.stages.train" in sys.orig_argv:
    import os, pathlib
    failed = pathlib.Path(__file__).with_name("failed")
    count = len(failed.read_text()) if failed.exists() else 0
    failed.write_text("x" * (count + 1))
    if count < 2:
        print("failed on purpose", flush=True)
        os._exit(1)
"""


def test_retries_request_more_memory_up_to_the_partitions_limit(tmp_path):
    config = copy.deepcopy(SMALL)
    config["training"]["standard"]["epochs"] = 1
    since = datetime.now()
    run = cluster_run(tmp_path, config, environment=hooked(tmp_path / "hook", FAIL_TWICE))
    run("--", str(run.results.relative_to(tmp_path) / TRAINING))
    first, second, third = (job.mb for job in accounted(since) if job.kind == "train")
    limit = yaml.safe_load((ROOT / "profiles/slurm/partitions.yaml").read_text())["partitions"]["gpu"]["max_mem_mb"]
    assert (second, third) == (2 * first, limit)
    assert 3 * first > limit, "the third attempt would ask for more"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The checkpoint of a local training that is not interrupted."""
    workflow = Workflow(tmp_path_factory.mktemp("undisturbed"), SMALL)
    workflow("--until", "train")
    return (workflow.results / TRAINING).read_bytes()


def running_job(rule):
    """Return the number of the running job of a rule, None if there is none."""
    for line in said("squeue", "-h", "-t", "RUNNING", "-o", "%A %k").splitlines():
        number, comment = line.split(maxsplit=1)
        if comment.startswith(f"rule_{rule}"):
            return int(number)
    return None


@pytest.mark.parametrize("how", ["scancel", "requeue", "scancel and SIGINT"])
def test_training_ended_by_cluster_resumes_same_bytes(tmp_path, undisturbed, how):
    run = cluster_run(tmp_path, SMALL, environment=hooked(tmp_path / "hook", SAVE_OFTEN))
    target = str(run.results.relative_to(tmp_path) / TRAINING)
    process = run.start("--", target)
    run.wait_for_saved_state()
    job = running_job("train")
    if how == "requeue":
        run_command("scontrol", "requeue", str(job))
        state = ["squeue", "-h", "-j", str(job), "-o", "%T"]
        wait_for("the requeued job", lambda: said(*state).strip() == "PENDING")
        run_command("scontrol", "update", f"JobId={job}", "StartTime=now")  # SLURM would let it wait for two minutes
    else:
        run_command("scancel", str(job))
    if how == "scancel and SIGINT":  # the user gives up, and comes back
        process.send_signal(signal.SIGINT)
        process.wait()
        process = run.start("--", target)
    assert process.wait() == 0, run.log.read_text()[-5000:]
    assert "resumed after" in (run.results / "small-standard-s0/logs/train.log").read_text()
    assert (run.results / TRAINING).read_bytes() == undisturbed
