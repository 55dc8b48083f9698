"""The start of a run and its end, without jobs: what it waits for and removes, which files it takes, and its report."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.run_lock import join, lock
from featurepaths.workflow import run
from featurepaths.workflow.display import LINES_OF_LOG
from featurepaths.workflow.folder import configuration_of, profile_of, workflow_folder
from featurepaths.workflow.start import STARTED, only_reads, start


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, in which nothing is started yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("featurepaths.workflow.start.STARTED", {})
    return tmp_path


def test_call_that_only_reads_neither_waits_nor_removes_what_others_need(folder):
    left = folder / ".snakemake/locks/1.output.lock"
    left.parent.mkdir(parents=True)
    left.write_text("results/mine/data.h5\n")
    with join("at-work"):
        start("at-work", "results/mine", waits=False)
        assert left.exists()
    STARTED.clear()


def test_start_removes_locks_of_its_experiment_and_passes_over_those_that_vanish(folder):
    locks = folder / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").symlink_to("gone")  # listed, but not there when it is read
    (locks / "1.output.lock").write_text("results/mine/data.h5\n")
    (locks / "2.output.lock").write_text("results/other/data.h5\n")
    start("at-work", "results/mine", waits=False)
    assert sorted(path.name for path in locks.iterdir()) == ["0.output.lock", "2.output.lock"]


@pytest.mark.parametrize(
    ("words", "reads"),
    [
        ("--cores 1", False),
        ("--cores 1 --until data", False),
        ("--report=report.html", True),
        ("--report a.html --report-after-run", False),
        ("-S", True),
    ],
)
def test_command_line_that_runs_no_jobs_is_known(words, reads):
    assert only_reads(words.split()) == reads


def test_folder_named_as_configuration_or_profile_does_not_hide_the_bundled_one(folder):
    for name in ("slurm", "cifar10-budget", "config.yaml"):
        (folder / name).mkdir()
    assert profile_of("slurm") == workflow_folder() / "profiles/slurm"
    assert configuration_of(Path("cifar10-budget")) == workflow_folder() / "configs/cifar10-budget.yaml"
    assert configuration_of(None) == workflow_folder() / "config.yaml"
    (folder / "slurm/config.yaml").touch()
    assert profile_of("slurm") == folder / "slurm"


def test_result_is_printed_under_the_lock_before_the_report_fails(folder, monkeypatch, capsys):
    parsed = dict.fromkeys(["dryrun", "touch", "targets", "until", "omit_from", "batch", "config", "directory"])
    snakemake = SimpleNamespace(**parsed, snakefile=folder / "Snakefile", configfile=[])
    (folder / "Snakefile").write_text("raise ValueError('first' + 40 * '\\nline' + ' last')\n")
    alone = []

    def result(results, console):
        alone.append(lock(folder / "at-work", exclusive=True))
        console.print("the result")

    monkeypatch.setattr(run, "STARTED", {folder / "results/mine": join(folder / "at-work")})
    monkeypatch.setattr(run, "_call_snakemake", lambda *_: (True, snakemake, True))
    monkeypatch.setattr(run, "print_result", result)
    (folder / "mine.yaml").touch()
    with pytest.raises(FeaturePathsError, match="last") as failure:
        run.run_experiment(folder / "mine.yaml", None, None, True, [])
    assert "first" not in str(failure.value)
    assert len(str(failure.value).splitlines()) == 1 + LINES_OF_LOG
    assert "the result" in capsys.readouterr().out
    assert alone == [None]
