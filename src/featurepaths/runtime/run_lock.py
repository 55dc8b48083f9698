"""Who is at work on an experiment, so that nobody starts beside a stage that outlived its Snakemake.

Snakemake and every stage hold a file's lock together while they run. The kernel takes it from whoever ends, however
that happens. `python -m featurepaths.runtime.run_lock FILE` waits until nobody holds it: `make run` does that first.
"""

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import IO

SECONDS_BETWEEN_LOOKS = 0.5


def join(path: Path | str) -> IO | None:
    """Hold a file's lock together with others until the process ends, or the file that is returned is closed.

    None where there is no such folder, as for a stage that is called by hand, or the file system knows no locks.
    """
    try:
        file = Path(path).open("a")  # noqa: SIM115 (open as long as the process)
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:
        return None
    return file


def others_at_work(path: Path | str) -> list[str]:
    """Return who else holds a file's lock: process numbers of this machine and their commands."""
    path = Path(path)
    if not path.exists():
        return []
    inode = path.stat().st_ino
    found = []
    for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[1] == "FLOCK" and int(words[5].split(":")[2]) == inode and int(words[4]) not in (os.getpid(), -1):
            found.append(f"{words[4]} ({_command(words[4])})")
    return found


def wait(path: Path | str) -> None:
    """Wait until nobody holds a file's lock, and say for whom."""
    try:
        file = Path(path).open("a")  # noqa: SIM115 (see `with` below)
    except OSError:  # nobody has ever worked here
        return
    with file:
        told = None
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            except OSError:  # no locks on this file system
                return
            else:
                return
            if (others := others_at_work(path)) != told:
                told = others
                print(
                    f"An earlier run is still at work: {', '.join(others) or 'on another machine'}. Waiting for it. "
                    "(Ended by `kill <number>`, a stage saves what it can.)",
                    file=sys.stderr,
                    flush=True,
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _command(process: str) -> str:
    """Return the stage that a process is, or else the end of its command."""
    try:
        words = Path("/proc", process, "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "gone"
    stages = [word for word in words if word.startswith("featurepaths.stages.")]
    return (stages or [" ".join(words)[:60].strip()])[0]


if __name__ == "__main__":
    wait(sys.argv[1])
