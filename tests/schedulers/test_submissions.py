"""Submissions of Snakemake's executor plugins with the profiles: one GPU for rules with a GPU, none for the others.

`make test-schedulers` runs these in an environment that has the plugins. ``python -m tests.schedulers.test_submissions
docs/cluster.md`` writes the table of the page.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.checkpoint_kinds import update
from tests.experiments import ROOT, RULES_WITH_GPU, TINY
from tests.processes import Checkout, Workflow, finish

pytest.importorskip("snakemake_executor_plugin_htcondor", reason="the plugins are not installed: make test-schedulers")

PROFILES = {"lsf": "lsf", "htcondor": "htcondor", "pbs": "cluster-generic", "sge": "cluster-generic"}
"""The profiles, and their executors."""
NAMES = {"lsf": "LSF", "htcondor": "HTCondor", "pbs": "PBS", "sge": "Grid Engine"}
MARK = "<!-- make test-schedulers writes what follows, up to the next mark -->\n"
END = "<!-- the end of the table of schedulers -->\n"
GPUS = {
    "lsf": lambda call: len(re.findall(r" -gpu num=1 ", call)),
    "htcondor": lambda description: description.get("request_gpus", 0),
    "pbs": lambda call: len(re.findall(r":ngpus=1 ", call)),
    "sge": lambda call: len(re.findall(r" -l gpu=1 ", call)),
}
"""How many GPUs a submission requests."""
MEMORY = {
    "lsf": lambda call, cores: float(re.search(r"rusage\[mem=([\d.]+)\]", call)[1]) * cores,
    "htcondor": lambda description, _: float(description["request_memory"].removesuffix("MB")),
    "pbs": lambda call, _: float(re.search(r":mem=(\d+)mb", call)[1]),
}
"""The MB that a submission requests; Grid Engine has no resource for it that all clusters know."""
MINUTES = {
    "lsf": lambda call: int(re.search(r" -W (\d+) ", call)[1]),
    "pbs": lambda call: eval_shell(re.search(r"-l walltime=(\$\(\(.*?\)\))", call)[1]) / 60,
    "sge": lambda call: eval_shell(re.search(r"-l h_rt=(\$\(\(.*?\)\))", call)[1]) / 60,
}
"""The minutes that a submission requests; HTCondor has no limit by default."""


def eval_shell(expression):
    return int(subprocess.run(["sh", "-c", f"echo {expression}"], capture_output=True, text=True, check=True).stdout)


def submissions(profile, folder):
    """Return the records of what the plugin of a profile's executor submits for the jobs of an experiment."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY))
    command = [sys.executable, "-m", "tests.schedulers.submissions", PROFILES[profile], folder / "records.json"]
    command += ["--profile", ROOT / "profiles" / profile, "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "config.yaml"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in (folder / "records.json").read_text().splitlines()]


@pytest.fixture(scope="module", params=PROFILES)
def submitted(request, tmp_path_factory):
    return request.param, submissions(request.param, tmp_path_factory.mktemp(request.param))


def test_one_gpu_for_rules_with_a_gpu_and_none_for_the_others(submitted):
    profile, records = submitted
    requested = {record["rule"]: GPUS[profile](record["submission"]) for record in records}
    assert {rule for rule, gpus in requested.items() if gpus} == RULES_WITH_GPU
    assert set(requested.values()) == {0, 1}
    assert requested.keys() > RULES_WITH_GPU | {"data", "clean_paths", "evaluation"}


def test_memory_and_time_are_those_of_the_rules(submitted):
    profile, records = submitted
    for record in records:
        resources, submission = record["resources"], record["submission"]
        if profile in MEMORY:
            assert MEMORY[profile](submission, resources["_cores"]) == pytest.approx(resources["mem_mb"]), record
        if profile in MINUTES:
            assert MINUTES[profile](submission) == resources["runtime"], record


@pytest.mark.parametrize(
    ("profile", "tool", "answers"),
    [
        ("pbs", "qstat", {"job_state = R": "running", "job_state = Q": "running"}),
        (
            "pbs",
            "qstat",
            {"job_state = F\n    Exit_status = 0": "success", "job_state = F\n Exit_status = 271": "failed"},
        ),
        ("pbs", "qstat", {"job_state = C\n    exit_status = 0": "success", "job_state = F": "failed"}),
        ("sge", "qstat", {"  7 0.5 train root r 11/29/2026": "running", "  7 0.5 train root Eqw 11/29/2026": "failed"}),
    ],
)
def test_status_scripts_understand_the_schedulers_answers(profile, tool, answers, tmp_path):
    for answer, status in answers.items():
        script = tmp_path / tool
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
        script.chmod(0o755)
        command = ["sh", ROOT / f"profiles/{profile}/status.sh", "7"]
        environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.split() == [status], answer


@pytest.mark.parametrize("profile", ["pbs", "sge"])
def test_job_that_no_scheduler_knows_has_failed_in_the_end(profile, tmp_path):
    (tmp_path / ".snakemake" / profile).mkdir(parents=True)
    for tool in ("qstat", "qacct"):
        (tmp_path / tool).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = ["sh", ROOT / f"profiles/{profile}/status.sh", "7"]
    answers = [
        subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        ).stdout.strip()
        for _ in range(31)
    ]
    assert answers == ["running"] * 30 + ["failed"]


@pytest.mark.parametrize(
    ("profile", "tool", "answer"),
    [("pbs", "qstat", "job_state = F\n Exit_status = 0"), ("sge", "qacct", "failed 0\nexit_status 0")],
)
def test_job_of_a_checkout_whose_path_contains_a_space_is_submitted_and_ends(profile, tool, answer, tmp_path):
    """The scheduler runs a job at once, and knows that it has ended."""
    checkout, tools = Checkout(tmp_path / "my checkout", TINY), tmp_path / "tools"
    tools.mkdir()
    scripts = {"qstat": "exit 1", "qsub": 'for script; do :; done; sh "$script" > job.txt 2>&1; echo 7'}
    for name, script in (scripts | {tool: f"echo '{answer}'"}).items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    environment = checkout.environment | {"PATH": f"{tools}{os.pathsep}{checkout.environment['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "--profile", checkout.folder / "profiles" / profile, "data"]
    done = finish(list(map(str, command)), cwd=checkout.folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout.results / "data.h5").exists()


@pytest.mark.parametrize("profile", ["pbs", "sge"])
def test_python_whose_path_contains_a_space_is_refused_before_anything_is_submitted(profile, tmp_path):
    """Snakemake does not quote it. If this changes, workflow/submission.py and docs/cluster.md have to."""
    (tmp_path / "my environment").symlink_to(sys.prefix)
    command = [tmp_path / "my environment/bin/python", "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
    command += ["--profile", ROOT / "profiles" / profile, "data"]
    done = finish(list(map(str, command)), cwd=tmp_path)
    assert done.returncode == 1
    assert "my environment/bin/python" in done.stderr
    assert "contains a space" in done.stderr
    assert not (tmp_path / ".snakemake" / profile).exists()


def test_four_gpu_jobs_run_at_once_on_a_cluster(tmp_path):
    workflow = Workflow(tmp_path, TINY | {"shards": {"attacks": 4}})
    detached = "sh -c 'setsid sh \"$1\" > /dev/null 2>&1 & echo $!' --"
    arguments = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", detached, "--jobs", "4"]
    workflow("--until", "attack", *arguments, environment={"OMP_NUM_THREADS": "1"})
    times = []
    for log in workflow.results.glob("*/logs/attack.*.log"):
        benchmark = log.parents[1] / "benchmarks" / log.with_suffix(".tsv").name
        took = float(benchmark.read_text().splitlines()[1].split("\t")[0])
        times.append((log.stat().st_mtime - took, log.stat().st_mtime))
    assert len(times) >= 4
    most = max(sum(start <= moment <= end for start, end in times) for moment, _ in times)
    assert most == 4


@pytest.mark.parametrize("executor", ["kubernetes"])
def test_executors_without_shared_files_are_refused_by_snakemake(executor, tmp_path):
    """Their plugins leave no choice, whatever --shared-fs-usage says. If this changes, docs/cluster.md has to."""
    arguments = ["--executor", executor, "--jobs", "2", "--shared-fs-usage", "input-output", "persistence", "sources"]
    text = Workflow(tmp_path, TINY)("--dry-run", *arguments, succeeds=False)
    assert "default-storage-provider" in text


def test_storage_provider_is_refused(tmp_path):
    arguments = ["--default-storage-provider", "fs", "--default-storage-prefix", str(tmp_path / "storage")]
    assert "--default-storage-provider" in Workflow(tmp_path, TINY)("--dry-run", *arguments, succeeds=False)


def table(folder):
    """Return the table of docs/cluster.md, from what the plugins submit."""
    lines = ["| scheduler | profile | executor | a rule with a GPU requests | the others |", "|:--|:--|:--|:--|:--|"]
    for profile, executor in PROFILES.items():
        records = submissions(profile, folder / profile)
        with_gpu, without = (
            next(record["submission"] for record in records if record["rule"] == rule)
            for rule in ("train", "evaluation")
        )
        extra = request(with_gpu) - request(without)
        plugin = f"{executor} {version(f'snakemake-executor-plugin-{executor}')}"
        requested = " ".join(f"`{word}`" for word in sorted(extra))
        lines.append(f"| {NAMES[profile]} | `profiles/{profile}` | {plugin} | {requested} | no GPU |")
    return "\n".join(lines) + "\n"


def request(submission):
    """Return the parts of a submission by which it requests GPUs."""
    if isinstance(submission, dict):
        return {f"{name}={value}" for name, value in submission.items() if "gpu" in name}
    return set(re.findall(r"-gpu num=\d+|:ngpus=\d+|-l gpu=\d+", submission))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        update(Path(sys.argv[1]), MARK, END, table(Path(temporary)))
