"""Measure the ratio of two run times, alternating between the two so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

REST = 0.3
"""Seconds before each measurement in which processes of the other side, such as a loader's workers, end."""


@dataclass(frozen=True)
class Result:
    """The median ratio of all rounds, the lowest and the highest, and the target, which is a lower bound or, with
    `at_most`, an upper bound.
    """

    name: str
    ratio: float
    low: float
    high: float
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the ratio meets the target; None without one."""
        if self.target is None:
            return None
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


def seconds(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes, including its work on a GPU."""
    _finish()
    start = time.perf_counter()
    call()
    _finish()
    return time.perf_counter() - start


def speed_ratio(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], target: float | None, rounds: int = 5
) -> Result:
    """Return how many times faster `ours` is than `theirs`: the median of rounds that follow a warm-up."""
    ours(), theirs()
    ratios = []
    for number in range(rounds):
        # the order alternates, so that neither always runs on a warmer processor
        pair = (ours, theirs) if number % 2 else (theirs, ours)
        durations = {}
        for call in pair:
            time.sleep(REST)
            durations[call] = seconds(call)
        ratios.append(durations[theirs] / durations[ours])
    return Result(name, statistics.median(ratios), min(ratios), max(ratios), target)


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
