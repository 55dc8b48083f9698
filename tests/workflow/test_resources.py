"""Requests of jobs on a workstation and on a cluster, by dry runs and by real jobs."""

import re
from collections import defaultdict

import pytest

from tests.experiments import ROOT, RULES_WITH_GPU, TINY
from tests.processes import Workflow

STREAMED = {"train", "attack", "adaptive", "controls", "streamed_classes", "streamed_paths", "detectors"} | {
    "detector_evaluation"
}
ON_CLUSTER = ("--executor", "slurm", "--jobs", "4")


def requested(text):
    """Return the resources of every rule's jobs in a dry run, by rule."""
    rules = defaultdict(list)
    for rule, words in re.findall(r"\n *(?:local)?rule (\w+):\n(?: +.*\n)*? +resources: (.*)\n", text):
        rules[rule].append(dict(word.split("=", 1) for word in words.split(", ")))
    return rules


@pytest.fixture
def dry_run(tmp_path):
    pytest.importorskip("snakemake_executor_plugin_slurm")

    def run(*arguments, config=TINY, **options):
        return Workflow(tmp_path, config)("--dry-run", *arguments, **options)

    return run


@pytest.mark.parametrize(("storage", "expected"), [("store", RULES_WITH_GPU), ("stream", STREAMED)])
def test_gpu_resources_go_to_rules_with_a_gpu_alone(dry_run, storage, expected):
    defaults = ("--default-resources", "gpu_resources=gpu_model=h100; request_gpus=1")
    rules = requested(dry_run(*ON_CLUSTER, *defaults, config=TINY | {"features": {"storage": storage}}))
    del rules["all"]
    for rule, jobs in rules.items():
        for job in jobs:
            gpu = {key: job.get(key) for key in ("gpu", "gpu_model", "request_gpus", "gpu_resources")}
            if rule in expected:
                assert gpu == {"gpu": "1", "gpu_model": "h100", "request_gpus": "1", "gpu_resources": None}, rule
            else:
                assert not any(gpu.values()), rule
    assert rules.keys() >= expected


def test_device_cpu_requests_no_gpu_on_a_cluster(dry_run):
    text = dry_run(*ON_CLUSTER, "--default-resources", "gpu_resources=gpu_model=h100", config=TINY | {"device": "cpu"})
    assert not [rule for rule, jobs in requested(text).items() if rule != "all" and "gpu" in jobs[0]]


def test_gpu_model_for_all_jobs_is_refused(dry_run):
    text = dry_run(*ON_CLUSTER, "--default-resources", "gpu_model=h100", succeeds=False)
    assert "gpu_resources: gpu_model=h100" in text


def test_gpu_resources_without_value_are_refused(dry_run):
    assert "gpu_resources" in dry_run("--default-resources", "gpu_resources=h100", succeeds=False)


def module(folder, *lines):
    """Write a Snakefile that uses this workflow as a module, and return the arguments that run it."""
    (folder / "Snakefile").write_text(
        f"configfile: 'config.yaml'\nmodule paths:\n    snakefile: {str(ROOT / 'Snakefile')!r}\n    config: config\n"
        + "".join(f"    {line}\n" for line in lines)
        + "use rule * from paths as paths_*\n"
    )
    return ["--snakefile", str(folder / "Snakefile")]


def test_workflow_as_a_module_of_another_runs(tmp_path):
    workflow = Workflow(tmp_path, TINY)
    workflow("--until", "paths_data", *module(tmp_path))
    assert (workflow.results / "data.h5").exists()
    assert "paths_explorer" in workflow("--dry-run", *module(tmp_path))


@pytest.mark.parametrize("line", ["prefix: 'elsewhere'", "replace_prefix: {'results/': 'elsewhere/'}"])
def test_module_that_moves_the_results_is_refused(tmp_path, line):
    text = Workflow(tmp_path, TINY)("--dry-run", *module(tmp_path, line), succeeds=False)
    assert "--directory" in text
    assert "prefix" in text
