"""Rules of the verdict: which robustness remains against an attacker who knows the defence, decided from counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from featurepaths.report.results import Checkpoints, Result
from featurepaths.statistics.metrics import wilson
from featurepaths.statistics.worst_case import check_vanished, count_vanished

NOTHING = 0.05
"""If the upper end of the 95 % interval is below this accuracy, almost nothing remains."""
SIGNIFICANT = 0.05
"""A p-value of McNemar's test below this is a significant difference."""
FALSE_POSITIVES = {"fpr-5": "5 %", "fpr-1": "1 %"}
"""The false positive rate that a threshold is calibrated for, by threshold method."""


class Robustness(Enum):
    """Robustness in the adaptive worst case, by the first rule that applies.

    Upper ends are those of 95 % Wilson intervals. McNemar's test compares the defence with the network alone on the
    same images, at a level of 5 %.
    """

    UNTRUSTED = "a control failed; without controls: gradients vanish"
    NOTHING = "the upper end is lower than `NOTHING`"
    UNCERTAIN = "no image remains correct, but there are too few images for the upper end to be that low"
    LESS = "significantly fewer images than the undefended network"
    MORE = "significantly more images than the undefended network"
    SAME = "no significant difference"


class Rate(NamedTuple):
    """A share of images."""

    successes: int
    n: int

    @property
    def value(self) -> float:
        """The share itself, in [0, 1]."""
        return self.successes / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval."""
        return wilson(self.successes, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{percent(self.value)} [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Case(Result):
    """The adaptive evaluation of one network and pooling; `checks` is None where the controls were not run."""

    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[Mapping[str, Any]] | None = None

    def rate(self, side: str, images: str) -> Rate:
        """Return the accuracy of the ``defended`` or ``undefended`` network on ``clean`` or ``adaptive`` images."""
        return Rate(self.content[side][f"{images}_correct"], self.content["n"])

    @property
    def defended(self) -> Rate:
        """Accuracy with feature paths in the adaptive worst case."""
        return self.rate("defended", "adaptive")

    @property
    def alone(self) -> Rate:
        """Accuracy of the undefended network in its own worst case."""
        return self.rate("undefended", "adaptive")

    @property
    def oblivious(self) -> list[tuple[str, Rate]]:
        """Stopping rules, and the accuracy of feature paths under the oblivious attack, in ascending order."""
        correct = self.content["defended"]["oblivious_correct"]
        return [(rule, Rate(correct[rule], self.content["n"])) for rule in sorted(correct, key=correct.get)]

    @property
    def seeming(self) -> Rate:
        """The highest accuracy under the oblivious attack, of all stopping rules."""
        return self.oblivious[-1][1]

    @property
    def drop(self) -> float:
        """Accuracy lost from the highest oblivious accuracy to the adaptive one."""
        return self.seeming.value - self.defended.value

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """Checks that failed; without controls only that of vanishing gradients, which needs none."""
        checks = self.checks
        if checks is None:
            check = check_vanished(count_vanished(self.content["attacks"]))
            checks = [dict(zip(("check", "passed", "found"), check, strict=True))]
        return [check for check in checks if not check["passed"]]

    @property
    def untrusted(self) -> str:
        """Reason why the accuracy is not reliable, where checks `failed`."""
        return "gradients vanish" if self.checks is None else "a control failed"

    @property
    def robustness(self) -> Robustness:
        """The rule that applies."""
        if self.failed:
            return Robustness.UNTRUSTED
        if self.defended.interval[1] < NOTHING:
            return Robustness.NOTHING
        return self.against_network if self.defended.successes else Robustness.UNCERTAIN

    @property
    def against_network(self) -> Robustness:
        """Whether the defence keeps `LESS` or `MORE` images than the network alone, each in its own worst case."""
        test = self.content["mcnemar"]
        if test["p_value"] >= SIGNIFICANT:
            return Robustness.SAME
        return Robustness.LESS if test["first_only"] < test["second_only"] else Robustness.MORE

    @property
    def detection(self) -> list[tuple[str, Mapping[str, Any]]]:
        """False positive rates, and the counts of detection alone at the thresholds calibrated for them."""
        counts = {counts["threshold_method"]: counts for counts in self.content["detection"]}
        return [(rate, counts[method]) for method, rate in FALSE_POSITIVES.items() if method in counts]

    def against_adversarial_training(self, cases: Sequence["Case"]) -> list[tuple[Robustness, "Case"]]:
        """Return how the defence compares with adversarially trained networks of the same model, seed and pooling.

        An untrusted accuracy is only an upper bound: it can be `LESS` than another network's, and nothing else.
        """
        if self.checkpoint["adversarial"]:
            return []
        same = self.run._replace(training=""), self.pooling
        others = [case for case in cases if case.checkpoint["adversarial"]]
        compared = [
            (compare(self.defended, case.alone), case)
            for case in others
            if (case.run._replace(training=""), case.pooling) == same
        ]
        return [each for each in compared if not self.failed or each[0] is Robustness.LESS]


def compare(one: Rate, other: Rate) -> Robustness:
    """Return whether one rate is `LESS` or `MORE` than another network's, or the `SAME` where intervals overlap."""
    if one.interval[1] < other.interval[0]:
        return Robustness.LESS
    return Robustness.MORE if one.interval[0] > other.interval[1] else Robustness.SAME


def cases_of(adaptive: Iterable[Result], controls: Iterable[Result], checkpoints: Checkpoints) -> list[Case]:
    """Return the cases of the adaptive evaluation, with the checks of the controls that were run.

    Parameters
    ----------
    adaptive, controls
        The contents of ``adaptive/<pooling>.json`` and ``controls/<pooling>.json``.
    checkpoints
        Of the networks.
    """
    checks = {(result.run, result.pooling): result.content["checks"] for result in controls}
    return [
        Case(**vars(result), checkpoint=checkpoints[result.run], checks=checks.get((result.run, result.pooling)))
        for result in adaptive
    ]


def by_network(cases: Iterable[Case]) -> list[list[Case]]:
    """Return the cases grouped by model, training and pooling: those of a group differ in their seed."""
    groups: dict[tuple[str, str, str | None], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.run.model, case.run.training, case.pooling), []).append(case)
    return list(groups.values())


def percent(value: float) -> str:
    """Return a fraction in per cent."""
    return f"{100 * value:.1f} %"
