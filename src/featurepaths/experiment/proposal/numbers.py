"""The numbers that `featurepaths new` proposes: by the size of data and machine, never by results."""

import os
import shutil
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from featurepaths.data.size import DataSize
from featurepaths.experiment.preview import Layer

MINUTES = 10
"""Greatest estimated minutes of a proposed experiment, where fewer images help."""
CALIBRATION = {Fraction(1, 10): 200, Fraction(1, 5): 0}
"""Shares of the training images for calibration, by the least number of images that they must be."""
LEAST = {"calibration": 100, "test": 100}
"""Numbers of images below which there is a warning: a threshold at a false positive rate of 1 % needs 100."""
DISK_SHARE, MEMORY_SHARE = 0.1, 0.5
"""Shares of the free disk space and of the memory that flattened features may take."""
BYTES_PER_CENTROID = 32
"""Memory per value of the centroids while they are computed: see `featurepaths.experiment.resources`."""


class Numbers(NamedTuple):
    """Test images that are attacked, that are attacked adaptively, and that the controls take."""

    attacked: int
    adaptive: int
    controls: int


LADDER = (
    Numbers(250, 32, 16),
    Numbers(500, 64, 16),
    Numbers(1000, 64, 32),
    Numbers(1000, 128, 32),
    Numbers(1000, 128, 64),
    Numbers(1000, 256, 64),
    Numbers(2000, 500, 100),
    Numbers(5000, 1000, 200),
    Numbers(10000, 1000, 200),
)
"""From the cheapest numbers to those of the configurations for CIFAR-10."""


def largest_that_fits(seconds: Callable[[Numbers], float], test: int) -> Numbers:
    """Return the last of `LADDER`, cut to the number of test images, that takes at most `MINUTES`, or the first."""
    rungs = list(dict.fromkeys(Numbers(*(min(number, test) for number in rung)) for rung in LADDER))
    fitting = [rung for rung in rungs if seconds(rung) <= 60 * MINUTES]
    return fitting[-1] if fitting else rungs[0]


def calibration_share(training: int) -> Fraction:
    """Return the share of `training` images for calibration."""
    return next(share for share, least in CALIBRATION.items() if share * training >= least)


def flatten_fits(layers: Sequence[Layer], size: DataSize, dump: int) -> bool:
    """Return whether flattened features, whose dumps take `dump` bytes, suit this machine's disk and memory."""
    largest = max(layer.size("flatten") for layer in layers)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return dump <= DISK_SHARE * free_space() and BYTES_PER_CENTROID * size.classes * largest <= MEMORY_SHARE * memory


def free_space() -> int:
    """Return the free bytes of the disk that the results are written to."""
    return shutil.disk_usage(Path.cwd()).free


def few_images(counts: dict[str, int]) -> list[str]:
    """Return warnings of splits with few images."""
    needs = {"calibration": "a threshold at a false positive rate of 1 %", "test": "intervals narrower than 20 points"}
    return [
        f"only {counts[split]} {split} images: {needs[split]} needs {least} or more"
        for split, least in LEAST.items()
        if counts[split] < least
    ]
