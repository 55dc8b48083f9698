"""Progress of a run: finished and running jobs by kind, and an estimate of the remaining time."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

KINDS = {
    "data": (2, "data"),
    "training": (20, "train pretrained"),
    "attacks": (6, "attack gather_attack"),
    "features and paths": (
        1.5,
        "features attacked_features streamed_classes gather_features gather_attacked_features"
        " clean_paths attacked_paths streamed_paths gather_paths",
    ),
    "evaluation": (4, "calibration evaluation detectors detector_evaluation"),
    "adaptive attacks": (36, "adaptive gather_adaptive worst_case"),
    "controls": (60, "controls"),
    "tables and figures": (3, ""),
}
"""Kinds of work in their order: seconds that a job of the default experiment takes, and the rules.

The seconds only weigh kinds of which no job has ended yet. Rules that are not listed make tables and figures.
"""
KIND_OF = {rule: kind for kind, (_, rules) in KINDS.items() for rule in rules.split()}
NO_WORK = ("all", "check", "total")


class Job(NamedTuple):
    """A running job: its kind, the network and other values of its wildcards, and its start in seconds."""

    kind: str
    network: str
    subject: str
    start: float


def kind_of(rule: str) -> str:
    """Return the kind of work that a rule does."""
    return KIND_OF.get(rule, "tables and figures")


class Work:
    """Counts of jobs by kind, and times. Another thread may read them.

    Attributes
    ----------
    total, done
        Jobs by kind: all of this run, and those that have ended.
    running
        Running jobs by Snakemake's number.
    """

    def __init__(self, jobs: Mapping[str, int], now: float) -> None:
        """Begin at a time `now`, in seconds, with numbers of jobs by rule."""
        self.total: Counter[str] = Counter()
        for rule, count in jobs.items():
            if rule not in NO_WORK:
                self.total[kind_of(rule)] += count
        self.done: Counter[str] = Counter()
        self.running: dict[int, Job] = {}
        self.began = now
        self._seconds = dict.fromkeys(self.total, 0.0)

    def start(self, number: int, rule: str, wildcards: Mapping[str, str], now: float) -> Job | None:
        """Note that a job starts, and return it; None for a rule that does no work."""
        if rule in NO_WORK:
            return None
        network = wildcards.get("run", "")
        others = (value for name, value in wildcards.items() if name != "run")
        job = Job(kind_of(rule), network, " ".join(filter(None, [network, *others])) or rule, now)
        self.running[number] = job
        return job

    def end(self, number: int, now: float, *, failed: bool = False) -> None:
        """Note that a job has ended; one that failed counts as not done."""
        job = self.running.pop(number, None)
        if job and not failed:
            self._seconds[job.kind] += now - job.start
            self.done[job.kind] += 1

    @property
    def share(self) -> float:
        """The share of jobs that are done, in [0, 1]."""
        return self.done.total() / max(1, self.total.total())

    def seconds_left(self, now: float) -> float | None:
        """Return the estimated seconds until the end; None before the first job has ended.

        A job takes the mean of those of its kind. Where none has ended, it takes its time in the default experiment
        times the ratio of both so far. As many jobs run side by side as did on average.
        """
        running, done, total = list(self.running.values()), self.done.copy(), list(self.total.items())
        if not done:
            return None
        busy = sum(self._seconds.values())
        ratio = busy / sum(KINDS[kind][0] * count for kind, count in done.items())
        remaining = 0.0
        for kind, count in total:
            mean = self._seconds[kind] / done[kind] if done[kind] else KINDS[kind][0] * ratio
            spent = sum(min(mean, now - job.start) for job in running if job.kind == kind)
            remaining += max(0.0, (count - done[kind]) * mean - spent)
        busy += sum(now - job.start for job in running)
        return remaining / max(1.0, busy / max(1e-9, now - self.began))


def clock(seconds: float) -> str:
    """Return seconds as `m:ss` or `h:mm:ss`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
