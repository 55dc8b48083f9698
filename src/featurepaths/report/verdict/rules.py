"""Rules of the verdict: which robustness remains against an attacker who knows the defence, decided from counts."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from featurepaths.networks.chance import chance
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


class Case:
    """The adaptive evaluation of one network and pooling, and what follows from its counts.

    Attributes
    ----------
    run, pooling, content, checkpoint
        The network, and the contents of the adaptive evaluation and of the checkpoint.
    checks
        The checks of the controls; None where they were not run.
    chance
        Warning that the network is right on no more clean images than chance; empty if it is on more.
    failed
        Checks that failed; without controls only that of vanishing gradients, which needs none.
    untrusted
        Reason why the accuracy is not reliable, where checks failed.
    defended, alone
        Accuracy with feature paths in the adaptive worst case, and of the undefended network in its own.
    oblivious
        Stopping rules, and the accuracy of feature paths under the oblivious attack, in ascending order.
    seeming, drop
        The highest of these accuracies, and the loss from it to the adaptive accuracy.
    detection
        False positive rates, and the counts of detection alone at the thresholds calibrated for them.
    against_network
        Whether the defence keeps `LESS` or `MORE` images than the network alone, each in its own worst case.
    robustness
        The rule that applies.
    """

    def __init__(self, result: Result, checkpoint: Mapping[str, Any], checks: list[dict[str, Any]] | None) -> None:
        self.run, self.pooling, content = result.run, result.pooling, result.content
        self.content, self.checkpoint, self.checks = content, checkpoint, checks
        self.chance = chance(content["undefended"]["clean_correct"], content["n"], content["n_most_frequent"])
        if checks is None:
            vanished = check_vanished(count_vanished(content["attacks"]))
            checks = [dict(zip(("check", "passed", "found"), vanished, strict=True))]
        self.failed = [check for check in checks if not check["passed"]]
        self.untrusted = "gradients vanish" if self.checks is None else "a control failed"
        self.defended, self.alone = self.rate("defended", "adaptive"), self.rate("undefended", "adaptive")
        correct = content["defended"]["oblivious_correct"]
        self.oblivious = [(rule, Rate(correct[rule], content["n"])) for rule in sorted(correct, key=correct.get)]
        self.seeming = self.oblivious[-1][1]
        self.drop = self.seeming.value - self.defended.value
        by_method = {counts["threshold_method"]: counts for counts in content["detection"]}
        self.detection = [(rate, by_method[method]) for method, rate in FALSE_POSITIVES.items() if method in by_method]
        self.against_network = compare_paired(content["mcnemar"])
        self.robustness = self._robustness()

    def rate(self, side: str, images: str) -> Rate:
        """Return the accuracy of the ``defended`` or ``undefended`` network on ``clean`` or ``adaptive`` images."""
        return Rate(self.content[side][f"{images}_correct"], self.content["n"])

    def _robustness(self) -> Robustness:
        if self.failed:
            return Robustness.UNTRUSTED
        if self.defended.interval[1] < NOTHING:
            return Robustness.NOTHING
        return self.against_network if self.defended.successes else Robustness.UNCERTAIN

    def against_adversarial_training(self, cases: Sequence["Case"]) -> list[tuple[Robustness, "Case"]]:
        """Return how the defence compares with adversarially trained networks of the same model, seed and pooling.

        An untrusted accuracy is only an upper bound: it can be `LESS` than another network's, and nothing else.
        """
        if self.checkpoint["adversarial"]:
            return []
        compared = [
            (compare(self.defended, case.alone), case)
            for case in cases
            if case.checkpoint["adversarial"]
            and (case.run.model, case.run.seed, case.pooling) == (self.run.model, self.run.seed, self.pooling)
        ]
        return [comparison for comparison in compared if not self.failed or comparison[0] is Robustness.LESS]


def compare_paired(mcnemar: Mapping[str, Any]) -> Robustness:
    """Return whether the first of two methods has `LESS` or `MORE` correct images, or the `SAME` up to chance."""
    if mcnemar["p_value"] >= SIGNIFICANT:
        return Robustness.SAME
    return Robustness.LESS if mcnemar["first_only"] < mcnemar["second_only"] else Robustness.MORE


def compare(rate: Rate, other: Rate) -> Robustness:
    """Return whether one rate is `LESS` or `MORE` than another network's, or the `SAME` where intervals overlap."""
    if rate.interval[1] < other.interval[0]:
        return Robustness.LESS
    return Robustness.MORE if rate.interval[0] > other.interval[1] else Robustness.SAME


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
    return [Case(result, checkpoints[result.run], checks.get((result.run, result.pooling))) for result in adaptive]


def by_network(cases: Iterable[Case]) -> list[list[Case]]:
    """Return the cases grouped by model, training and pooling: those of a group differ in their seed."""
    groups: dict[tuple[str, str, str | None], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.run.model, case.run.training, case.pooling), []).append(case)
    return list(groups.values())


def percent(value: float) -> str:
    """Return a fraction in per cent."""
    return f"{100 * value:.1f} %"
