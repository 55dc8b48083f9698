"""Ratios of two things measured alternately in the same run, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

REST = 0.3
"""Seconds before each measurement for what the other side left running, such as a loader's workers, to come to rest."""


@dataclass(frozen=True)
class Result:
    """A measured number, the least and the greatest of its rounds, and the bound it is held against, if there is one.

    `at_most` says that the target is an upper bound.
    """

    name: str
    ratio: float
    low: float
    high: float
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is met."""
        if self.target is None:
            return None
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes, work on a GPU included."""
    _finish()
    start = time.perf_counter()
    call()
    _finish()
    return time.perf_counter() - start


def speed_ratio(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], target: float | None, rounds: int = 5
) -> Result:
    """Return how many times faster `ours` is than `theirs`: the median over rounds, after one of each to warm up."""
    ours(), theirs()
    ratios = []
    for number in range(rounds):
        # who goes first changes, so that neither always runs on a warmer processor
        pair = (ours, theirs) if number % 2 else (theirs, ours)
        took = {}
        for call in pair:
            time.sleep(REST)
            took[call] = seconds(call)
        ratios.append(took[theirs] / took[ours])
    return Result(name, statistics.median(ratios), min(ratios), max(ratios), target)


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
