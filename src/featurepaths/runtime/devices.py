"""The device that networks run on, and its claim by one job at a time."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.run_lock import lock

LOCKS = Path("/tmp")
_held: dict[str, IO] = {}
"""Locked files of the GPUs that this process uses."""


def use_device(name: str, threads: int) -> torch.device:
    """Return the device called `name` (``auto``: a GPU if there is one) and make its arithmetic repeatable.

    A GPU is used by one job at a time: of several visible GPUs a free one is claimed, after waiting if necessary. On
    the CPU, results are bit-identical for equal `threads`. On a GPU, convolutions stay in float32.

    Raises
    ------
    FeaturePathsError
        If ``cuda`` is requested and torch sees no GPU.
    """
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise FeaturePathsError("device: cuda was requested, but torch finds no GPU on this machine. Set device: auto.")
    device = torch.device("cpu")
    if available and name != "cpu":
        names = [str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count())]
        device = torch.device("cuda", claim(names))
        torch.cuda.set_device(device)
    print(f"Device: {device}, {device_name(device)}; {_assigned()}", flush=True)
    return device


def claim(names: Sequence[str]) -> int:
    """Lock a GPU of this machine until this process ends, and return its position in `names`.

    Waits while other processes of this user hold all of them. A process that already holds one keeps it. If locks are
    not supported, the first GPU is used and the log says so.
    """
    for number, name in enumerate(names):
        if name in _held:
            return number
    if (number := _claim_free(names)) is None:
        print(f"All {len(names)} GPUs are in use: waiting for one.", flush=True)
        while (number := _claim_free(names)) is None:
            time.sleep(0.5)
    return number


def _claim_free(names: Sequence[str]) -> int | None:
    for number, name in enumerate(names):
        try:
            file = lock(LOCKS / f"featurepaths-{os.getuid()}-gpu-{name}.lock", exclusive=True)
        except OSError as error:
            print(f"GPU {number} is not locked ({LOCKS}: {error.strerror}): other jobs may use it too.", flush=True)
            return number
        if file is not None:
            _held[name] = file
            return number
    return None


def device_name(device: torch.device) -> str:
    """Return the device's name for records: ``cpu``, or the GPU's model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _assigned() -> str:
    """Return the GPUs and the node that a scheduler has assigned to this job."""
    variables = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURMD_NODENAME")}
    return ", ".join(f"{name}={value}" for name, value in variables.items() if value) or "assigned by no scheduler"
