"""The start of a Snakemake: it waits for stages of an earlier run, and removes what a killed Snakemake left behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from featurepaths.runtime.run_lock import join, wait

STARTED: dict[Path, IO | None] = {}
"""The results folders of the experiments that this process runs, and the locks that report them."""


def start(at_work: Path | str, results: Path | str) -> None:
    """Report that this process runs an experiment, until it ends, once no stage of an earlier run is at work.

    A Snakemake that was killed leaves its locks, and marks of files that it takes for incomplete, at which a report
    stops. Artefacts are complete or absent, and whoever holds `at_work` alone knows that no Snakemake runs. Where the
    file system does not support locks, these files stay.

    Parameters
    ----------
    at_work
        The file whose lock everything shares that works on the experiment.
    results
        The folder of its results, as Snakemake names it.
    """
    if alone := wait(at_work):
        with alone:
            for left in _left_behind(results):
                left.unlink(missing_ok=True)
    STARTED[Path(results).absolute()] = join(at_work)


def _left_behind(results: Path | str) -> Iterator[Path]:
    """Yield Snakemake's locks on files in `results`, and all marks of incomplete files."""
    for lock in Path(".snakemake/locks").glob("*.lock"):
        if any(line.startswith(f"{results}/") for line in lock.read_text(encoding="utf-8").splitlines()):
            yield lock
    yield from (mark for mark in Path(".snakemake/incomplete").rglob("*") if mark.is_file())
