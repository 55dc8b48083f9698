"""Starting Snakemake: waiting for stages of an earlier run, and removing the leftovers of a killed Snakemake."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from featurepaths.runtime.run_lock import join, lock, wait
from featurepaths.store.atomic import sweep

STARTED: dict[Path, IO | None] = {}
"""The results folders of the experiments that this process runs, and the locks that report them."""
READING = (
    "--lint --list-rules --list -l --list-target-rules --lt --print-compilation --summary -S --detailed-summary -D"
    " --dag --rulegraph --filegraph --d3dag --unlock --list-changes --lc --list-input-changes --li --lp --lu"
    " --list-params-changes --list-untracked --list-conda-envs --containerize --report --reporter"
)
"""Options with which Snakemake runs no job; which it runs with is not known while it reads the Snakefile."""


def only_reads(words: Sequence[str]) -> bool:
    """Return whether a command line, as far as its options are written out, calls Snakemake to run no jobs."""
    options = {word.partition("=")[0] for word in words}
    return not options.isdisjoint(READING.split()) and "--report-after-run" not in options


def start(at_work: Path | str, results: Path | str, *, waits: bool = True) -> None:
    """Report that this process runs an experiment, until it ends, once no stage of an earlier run is at work.

    A Snakemake that was killed leaves its locks, and marks of files that it takes for incomplete, at which a report
    stops. Artefacts are complete or absent, and whoever holds `at_work` alone knows that no Snakemake runs. Where the
    file system does not support locks, these files stay. Temporary files of processes that have ended go in any case.

    Parameters
    ----------
    at_work
        The file whose lock everything shares that works on the experiment.
    results
        The folder of its results, as Snakemake names it.
    waits
        Whether to wait for an earlier run. Otherwise nothing is removed while one is at work.
    """
    if alone := wait(at_work) if waits else _free(at_work):
        with alone:
            for file in _left_behind(results):
                file.unlink(missing_ok=True)
    STARTED[Path(results).absolute()] = join(at_work)
    sweep(Path(results))


def _free(at_work: Path | str) -> IO | None:
    """Return the file, locked for this process alone; None if others hold it or it cannot be locked."""
    with suppress(OSError):
        return lock(Path(at_work), exclusive=True)
    return None


def _left_behind(results: Path | str) -> Iterator[Path]:
    """Yield Snakemake's locks on files in `results`, and all marks of incomplete files."""
    for file in Path(".snakemake/locks").glob("*.lock"):
        with suppress(FileNotFoundError):  # another experiment's Snakemake has ended
            if any(line.startswith(f"{results}/") for line in file.read_text(encoding="utf-8").splitlines()):
                yield file
    yield from (mark for mark in Path(".snakemake/incomplete").rglob("*") if mark.is_file())
