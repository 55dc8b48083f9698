"""Start, watch and stop the services that tests bring up on this machine."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file with these permissions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(text)


def background(folder: Path, *command: str, name: str = "") -> None:
    """Start a service and note its process."""
    name = name or Path(command[0]).name
    with (folder / f"{name}.out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
    (folder / f"{name}.started").write_text(str(process.pid))


def stop_process(pid: int) -> None:
    """Stop a process, with SIGKILL after 20 seconds."""
    for number, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                os.kill(pid, number)
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass  # another process started it
            except ProcessLookupError:
                return
            time.sleep(0.2)


def run(*command: str) -> None:
    """Run a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def succeeds(*command: str) -> bool:
    """Run a command and return whether it succeeds."""
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def said(*command: str) -> str:
    """Return the output of a command."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait until `ready` returns true.

    Raises
    ------
    TimeoutError
        After `seconds`, naming `what`.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come up in {seconds:.0f} s")
        time.sleep(0.5)


@contextmanager
def running(cluster: ModuleType, folder: Path) -> Iterator[None]:
    """Start a cluster, whose module has `start` and `stop`, with its files in a folder, and stop it in the end."""
    try:
        cluster.start(folder)
        yield
    finally:
        cluster.stop(folder)


def run_on(cluster: ModuleType) -> None:
    """Run the command of the command line on a cluster, and exit with its code; say why if the cluster cannot start."""
    if reason := cluster.why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as temporary, running(cluster, Path(temporary)):
        status = subprocess.run(sys.argv[1:], check=False).returncode
    sys.exit(status)
