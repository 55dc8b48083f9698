"""Measure the ratio of two run times, alternately, so that a busy machine slows both, and judge it by its target."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
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

    @property
    def failed(self) -> bool:
        """Whether the ratio misses the target by more than the spread of its rounds, the highest less the lowest."""
        return self.met is False and abs(self.ratio - self.target) > self.high - self.low

    def cells(self) -> dict[str, str]:
        """Return the row of a table."""
        return {
            "what": self.name,
            "ratio": f"{self.ratio:.3g}",
            "rounds": f"{self.low:.3g} to {self.high:.3g}",
            "target": "" if self.target is None else f"{'≤' if self.at_most else '≥'} {self.target:g}",
            "met": {None: "", True: "yes", False: "no"}[self.met],
        }


def ratio_of(name: str, ratios: Iterable[float], target: float | None, at_most: bool = False) -> Result:
    """Return the result of the ratios of all rounds."""
    ratios = list(ratios)
    return Result(name, statistics.median(ratios), min(ratios), max(ratios), target, at_most)


def failures(results: Iterable[Result]) -> str:
    """Return the message that names the results that failed, empty if none did: an argument of `sys.exit`."""
    names = [result.name for result in results if result.failed]
    return f"Misses its target by more than the spread of its rounds: {'; '.join(names)}" if names else ""


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
    ratios: list[float] = []
    for number in range(rounds):
        # the order alternates, so that neither always runs on a warmer processor
        pair = (ours, theirs) if number % 2 else (theirs, ours)
        durations = {}
        for call in pair:
            time.sleep(REST)
            durations[call] = seconds(call)
        ratios.append(durations[theirs] / durations[ours])
    return ratio_of(name, ratios, target)


def table(rows: Iterable[Mapping[str, str]]) -> str:
    """Return rows, each a cell by column, as a Markdown table."""
    return pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True)


def machine(device: torch.device) -> str:
    """Return what the benchmarks ran on: the processor or GPU, and the version of torch."""
    if device.type == "cuda":
        return f"one {torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {models[0] if models else platform.processor()}, torch {torch.__version__}"


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
