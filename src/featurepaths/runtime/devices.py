"""Where networks run."""

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import torch

from featurepaths.errors import FeaturePathsError

LOCKS = Path("/tmp")
_held: dict[str, IO] = {}
"""Open lock files of the GPUs that this process uses; the system lets go of them when it ends, however it ends."""


def use_device(name: str, threads: int) -> torch.device:
    """Return the device called `name` (``auto`` takes a GPU where there is one) and make arithmetic repeatable on it.

    A GPU belongs to one job at a time: where several are visible, a free one is taken, or waited for. On the CPU
    results are the same to the bit for a given number of `threads`. On a GPU convolutions stay in float32.

    Raises
    ------
    FeaturePathsError
        If ``cuda`` is asked for and there is none.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise FeaturePathsError(
            "device: cuda was asked for, but this machine offers no GPU to torch. Set device: auto."
        )
    device = torch.device("cpu")
    if available and name != "cpu":
        names = [str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count())]
        device = torch.device("cuda", claim(names))
        torch.cuda.set_device(device)
    print(f"Device: {device}, {device_name(device)}; {_assigned()}", flush=True)
    return device


def claim(names: Sequence[str]) -> int:
    """Lock one of some GPUs of this machine for as long as this process lives, and return its position in `names`.

    Waits while other processes of this user hold all of them. A process that holds one already keeps it. Where locks
    cannot be had, the first one is taken and the log says so.
    """
    for number, name in enumerate(names):
        if name in _held:
            return number
    waiting = False
    while True:
        for number, name in enumerate(names):
            try:
                file = (LOCKS / f"featurepaths-{os.getuid()}-gpu-{name}.lock").open("w")
            except OSError as error:
                return _unlocked(number, error)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            except OSError as error:
                file.close()
                return _unlocked(number, error)
            else:
                _held[name] = file
                return number
        if not waiting:
            print(f"All {len(names)} GPUs are in use: waiting for one.", flush=True)
            waiting = True
        time.sleep(0.5)


def _unlocked(number: int, error: OSError) -> int:
    print(f"GPU {number} is not locked ({LOCKS}: {error.strerror}): other jobs may take it, too.", flush=True)
    return number


def device_name(device: torch.device) -> str:
    """Return what to record of a device: ``cpu``, or the GPU's model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _assigned() -> str:
    """Return which GPUs a scheduler has assigned to this job, and where."""
    told = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURMD_NODENAME")}
    return ", ".join(f"{name}={value}" for name, value in told.items() if value) or "assigned by no scheduler"
