"""Limits of one job on a machine or a cluster's greatest partition; the resource by which a profile requests a GPU."""

import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from featurepaths.errors import FeaturePathsError

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


class PartitionLimits(Protocol):
    """Limits of one job on a partition, as the SLURM plugin reads them; infinite where none is stated."""

    max_runtime: float
    """Minutes."""
    max_mem_mb: float
    max_gpu: int


class Limits(NamedTuple):
    """Memory in MB and time in minutes that one job can get."""

    mb: float
    minutes: float


def largest_partition(partitions: Iterable[PartitionLimits], gpus: int, mb: float) -> Limits:
    """Return the limits of the partition of longest time among those that have `gpus` GPUs and `mb` MB for one job.

    Without such a partition there is no limit: the first request fits none, and the cluster says so.
    """
    fit = [
        Limits(partition.max_mem_mb, partition.max_runtime)
        for partition in partitions
        if partition.max_gpu >= gpus and partition.max_mem_mb >= mb
    ]
    return max(fit, key=lambda limits: (limits.minutes, limits.mb), default=Limits(float("inf"), float("inf")))


def machine_gpus() -> int:
    """Return how many GPUs of this machine the environment leaves visible; 0 if nvidia-smi is missing or fails."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    count = sum(line.startswith("GPU ") for line in listed.splitlines())  # parts of a GPU are indented
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return count if visible is None else min(count, len(list(filter(None, visible.split(",")))))


def machine_memory_mb() -> int:
    """Return the memory of this machine in MB, or the smaller limit of this process's control groups (version 2)."""
    amount = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _cgroup_limits():
        with suppress(OSError, ValueError):  # no such file, or "max"
            amount = min(amount, int(limit.read_text(encoding="ascii")))
    return amount // 2**20


def _cgroup_limits() -> list[Path]:
    """Return the files with the limits of the control groups that this process is in, as of a container or a job."""
    own = Path()
    with suppress(OSError):
        for line in OWN_CGROUP.read_text(encoding="utf-8").splitlines():
            if line.startswith("0::/"):
                own = Path(line.removeprefix("0::/"))
    return [CGROUPS / folder / "memory.max" for folder in (own, *own.parents)]


def parse_resources(text: str) -> dict[str, int | str]:
    """Return the resources of a text such as ``request_gpus=1; gpu_model=h100``; whole numbers become int.

    Raises
    ------
    FeaturePathsError
        If a part of it has no name or no value.
    """
    resources: dict[str, int | str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = (word.strip() for word in part.partition("="))
        if not name.isidentifier() or not value:
            raise FeaturePathsError(
                f"gpu_resources: '{part}' is not a resource and its value. Write, for example, "
                "gpu_resources: gpu_model=h100, with semicolons between several."
            )
        resources[name] = int(value) if value.isdecimal() else value
    return resources
