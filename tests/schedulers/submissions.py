"""Record what the plugins of Snakemake's executors submit for the jobs of an experiment, without their clusters.

``python -m tests.schedulers.submissions EXECUTOR RECORDS ARGUMENTS ...`` runs Snakemake with the arguments. Instead of
starting jobs it calls the plugin's own function that submits a job, once for every job of the experiment. What that
function hands to the scheduler goes to the file RECORDS: a JSON object per line, with the job's rule and resources.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.cli import main

Submit = Callable[[Any], None]


class Handed(Exception):  # noqa: N818
    """A submission that a plugin hands to its scheduler."""


def hand_over(submission: Any, *_: Any, **__: Any) -> None:
    """Take the place of the call that submits, whose first argument is the submission."""
    raise Handed(submission)


def prepare_cluster_generic(plugin: Any) -> None:
    """Submissions are command lines."""
    plugin.subprocess = SimpleNamespace(**{**vars(subprocess), "check_output": hand_over})


def prepare_lsf(plugin: Any) -> None:
    """Submissions are command lines; the settings of the cluster are LSF's defaults."""
    plugin.subprocess = SimpleNamespace(**{**vars(subprocess), "check_output": hand_over})
    plugin.Executor.get_lsf_config = lambda _: {"LSF_MEMFMT": "percpu", "LSF_UNIT_FOR_LIMITS": "MB"}
    plugin.Executor.get_project_arg = plugin.Executor.get_queue_arg = lambda *_: ""


def prepare_htcondor(plugin: Any) -> None:
    """Submissions are descriptions."""
    plugin.htcondor.Submit = hand_over


PREPARATIONS = {"cluster-generic": prepare_cluster_generic, "lsf": prepare_lsf, "htcondor": prepare_htcondor}


def record(executor: str, records: Path) -> None:
    """Let the plugin of an executor write down all submissions, in place of its first ones."""
    plugin = import_module(f"snakemake_executor_plugin_{executor.replace('-', '_')}")
    PREPARATIONS[executor](plugin)

    def run_jobs(self: Any, _: Any) -> None:
        with records.open("w") as file:
            for job in self.workflow.dag.jobs:
                if not job.is_local:
                    json.dump(
                        {"rule": job.rule.name, "resources": resources_of(job), "submission": given(self, job)}, file
                    )
                    file.write("\n")
        os._exit(0)

    plugin.Executor.run_jobs = run_jobs


def resources_of(job: Any) -> dict[str, int | str]:
    """Return the resources of a job whose values are known before it starts."""
    return {name: value for name, value in job.resources.items() if isinstance(value, (int, str))}


def given(executor: Any, job: Any) -> Any:
    """Return what the plugin hands to its scheduler for a job."""
    try:
        executor.run_job(job)
    except Handed as handed:
        return handed.args[0]
    raise AssertionError(f"{job.rule.name} was not submitted")


if __name__ == "__main__":
    name, file, *arguments = sys.argv[1:]
    record(name, Path(file))
    main(arguments)
