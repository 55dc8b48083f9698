"""What a machine, or the greatest partition of a cluster, can give one job; and what a profile requests a GPU by."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from featurepaths.errors import FeaturePathsError

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class PartitionLimits(Protocol):
    """Limits of one job on a partition, as the SLURM plugin reads them; infinite where none is stated."""

    max_runtime: float
    """Minutes."""
    max_mem_mb: float
    max_gpu: int


class Limits(NamedTuple):
    """What one job can get: MB of memory, and minutes."""

    mb: float
    minutes: float


def largest_partition(partitions: Iterable[PartitionLimits], gpus: int, mb: float) -> Limits:
    """Return the limits of the partition of longest time among those that have `gpus` GPUs and `mb` MB for one job.

    Without such a partition there is no limit: the first request fits none, and the cluster says so.
    """
    fit = [
        Limits(each.max_mem_mb, each.max_runtime)
        for each in partitions
        if each.max_gpu >= gpus and each.max_mem_mb >= mb
    ]
    return max(fit, key=lambda limits: (limits.minutes, limits.mb), default=Limits(float("inf"), float("inf")))


def machine_memory_mb() -> int:
    """Return the memory of this machine in MB, or of the container or batch job that this process is limited to."""
    amount = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or "max"
        amount = min(amount, int(CGROUP_LIMIT.read_text(encoding="ascii")))
    return amount // 2**20


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
