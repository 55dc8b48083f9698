import errno
import fcntl
import itertools
import multiprocessing
import time

import pytest
import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime import devices


def hold(names, log):
    """Claim a GPU, log when, and release it by ending the process."""
    number = devices.claim(names)
    start = time.monotonic()
    time.sleep(0.2)
    log.put((names[number], start, time.monotonic()))


@pytest.fixture
def locks(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "LOCKS", tmp_path)
    monkeypatch.setattr(devices, "_held", {})


def test_claim_by_several_processes_is_exclusive(locks):
    fork = multiprocessing.get_context("fork")
    log = fork.Queue()
    processes = [fork.Process(target=hold, args=(["a", "b"], log)) for _ in range(5)]
    for process in processes:
        process.start()
    held = [log.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert {name for name, _, _ in held} == {"a", "b"}
    for name in "ab":
        times = sorted((start, end) for gpu, start, end in held if gpu == name)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(times))


def test_claim_of_killed_process_is_released(locks):
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()

    def stopping_rule():
        devices.claim(["a"])
        ready.set()
        time.sleep(600)

    process = fork.Process(target=stopping_rule)
    process.start()
    assert ready.wait(60)
    assert devices.claim(["a", "b"]) == 1
    assert devices.claim(["a", "b"]) == 1, "it keeps what it has"
    process.kill()
    process.join()
    assert devices.claim(["a"]) == 0


def test_use_device_cpu_takes_no_lock_and_logs_assignment(locks, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    threads = torch.get_num_threads()
    assert devices.use_device("cpu", 1) == torch.device("cpu")
    torch.set_num_threads(threads)
    assert "Device: cpu, cpu; CUDA_VISIBLE_DEVICES=3" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_use_device_missing_gpu_raises():
    with pytest.raises(FeaturePathsError, match="device: cuda"):
        devices.use_device("cuda", 1)


def test_claim_without_file_locks_takes_first_gpu_and_logs(locks, tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert devices.claim(["a", "b"]) == 0
    assert "No locks available" in capsys.readouterr().out
    monkeypatch.setattr(devices, "LOCKS", tmp_path / "none")
    assert devices.claim(["a", "b"]) == 0
