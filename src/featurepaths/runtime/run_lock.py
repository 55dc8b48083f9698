"""The lock of an experiment, so that no run starts while a stage that outlived its Snakemake still runs.

Snakemake and every stage share the lock while they run, and a Snakemake that starts waits until nobody holds it. The
kernel releases a lock when its process ends, however it ends.
"""

import fcntl
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal

SECONDS_BETWEEN_LOOKS = 0.5


def lock(path: Path, *, exclusive: bool) -> IO | None:
    """Lock a file without waiting, until it is closed or the process ends; return None if another process holds it.

    Raises
    ------
    OSError
        If the file cannot be opened, or the file system does not support locks.
    """
    file = path.open("a")
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            return None
        raise
    return file


def join(path: Path | str) -> IO | None:
    """Share a file's lock until the process ends or the returned file is closed.

    Returns None if the folder does not exist, as for a stage called by hand, or the file system does not support locks.
    """
    with suppress(OSError):
        while (file := lock(Path(path), exclusive=False)) is None:  # `wait` holds it for a moment
            time.sleep(0.01)
        return file
    return None


def others_at_work(path: Path | str) -> list[str]:
    """Return the other processes of this machine that hold a file's lock: their numbers and commands."""
    path = Path(path)
    if not path.exists():
        return []
    inode = path.stat().st_ino
    holders = []
    for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
        _, kind, _, _, process, file, *_ = line.split()
        # a lock that a process handed on stands under its number, also when that process has ended
        if (
            kind == "FLOCK"
            and int(file.split(":")[2]) == inode
            and int(process) not in (os.getpid(), -1)
            and Path("/proc", process).exists()
        ):
            holders.append(f"{process} ({_command(process)})")
    return holders


def wait(path: Path | str) -> IO | None:
    """Wait until nobody holds a file's lock, report who does, and return the file, locked for this process alone.

    Returns None if the folder does not exist, because no run has ever started, or the file system does not support
    locks.
    """
    reported: set[str] | None = None
    while (alone := _take(Path(path))) is None:
        others = others_at_work(path)
        numbers = {other.split()[0] for other in others}
        if reported is None or not numbers <= reported:
            reported = (reported or set()) | numbers
            jobs = ", ".join(others) or "a job that is starting, or one on another machine"
            print(
                f"An earlier run is still at work: {jobs}. Waiting for it. "
                "(A stage ended by `kill <number>` saves its progress.)",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return alone or None


def _take(path: Path) -> IO | Literal[False] | None:
    """Return a file that is locked for this process alone; None if others hold it, False if it cannot be locked."""
    try:
        return lock(path, exclusive=True)
    except OSError:
        return False


def _command(process: str) -> str:
    """Return the stage that a process runs, or else the beginning of its command."""
    try:
        words = Path("/proc", process, "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "gone"
    return next(
        (word for word in words if word.startswith("featurepaths.stages.")), " ".join(" ".join(words).split())[:60]
    )
