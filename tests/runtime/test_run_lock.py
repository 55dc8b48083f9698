"""The lock that running stages hold and the next run waits for."""

import os
import subprocess
import sys

from featurepaths.runtime.run_lock import join, lock, others_at_work, wait
from featurepaths.store.atomic import sweep

WORKING = """
import sys, time
from featurepaths.runtime.run_lock import join
held = join(sys.argv[1])
print("working", flush=True)
time.sleep(60)
"""


WAITING = "import sys; from featurepaths.runtime.run_lock import wait; wait(sys.argv[1])"


def working(path):
    """Start a process that holds the lock until it is killed."""
    started = subprocess.Popen([sys.executable, "-c", WORKING, path], stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "working\n"
    return started


def test_wait_ends_when_last_process_is_killed(tmp_path):
    path = tmp_path / "at-work"
    workers = [working(path), working(path)]
    assert {line.split()[0] for line in others_at_work(path)} == {str(worker.pid) for worker in workers}
    command = [sys.executable, "-c", WAITING, path]
    waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    reported = waiting.stderr.readline()
    assert reported.startswith("An earlier run is still at work: ")
    assert all(f"{worker.pid} (" in reported for worker in workers)
    for worker in workers:
        assert waiting.poll() is None
        worker.kill()
        worker.wait()
    _, more = waiting.communicate(timeout=10)
    assert waiting.returncode == 0
    assert more == "", "nothing new was to be reported"
    assert others_at_work(path) == []


def test_lock_that_an_ended_process_handed_on_names_no_dead_process(tmp_path):
    """As the shell of a job holds it before Python has started."""
    path = tmp_path / "at-work"
    path.touch()
    script = 'exec 9<"$0"; flock --shared 9; echo held; read -r _'
    with subprocess.Popen(["bash", "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdout.readline() == b"held\n"
        assert others_at_work(path) == []
        assert lock(path, exclusive=True) is None


def test_wait_on_free_lock_returns(tmp_path):
    assert join(tmp_path / "none/at-work") is None
    assert join("") is None
    with join(tmp_path / "at-work"):
        assert others_at_work(tmp_path / "at-work") == [], "but for oneself"
    assert wait(tmp_path / "none/at-work") is None, "no run has ever started"
    with wait(tmp_path / "at-work"):
        assert lock(tmp_path / "at-work", exclusive=False) is None
    assert lock(tmp_path / "at-work", exclusive=True) is not None


def test_sweep_removes_only_files_of_ended_processes(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = os.uname().nodename
    left = tmp_path / f"run/.data.{host}-{ended.pid}.partial.h5"
    kept = [
        tmp_path / f"run/.data.{host}-{os.getpid()}.partial.h5",
        tmp_path / f"run/.data.elsewhere-{ended.pid}.partial.h5",
        tmp_path / "run/.checkpoint.0123456789abcdef0123.resume",
        tmp_path / "run/data.h5",
    ]
    (tmp_path / "run").mkdir()
    for path in (left, *kept):
        path.write_text("")
    sweep(tmp_path)
    assert sorted((tmp_path / "run").iterdir()) == sorted(kept)
