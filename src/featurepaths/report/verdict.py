"""The verdict in words: how much robustness is left when the attacker knows the defence.

Sentences are chosen by fixed rules on counts, so that a report never says more than was measured (`Left`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from html import escape
from typing import Any

from featurepaths.networks.warnings import DOUBTS
from featurepaths.report.comparison import Found, counted_noun, run_name
from featurepaths.report.page import page
from featurepaths.report.tables import Run
from featurepaths.statistics.metrics import wilson
from featurepaths.statistics.worst_case import check_vanished, count_vanished

TITLE = "What is left when the attacker knows the defence"
NOTHING = 0.05
"""Where even the upper end of the 95 % interval is lower than this, next to nothing is left."""
SIGNIFICANT = 0.05
"""Below this, the p-value of McNemar's test tells a difference."""

NORMS = {"linf": "L∞", "l2": "L2"}
FALSE_POSITIVES = {"fpr-5": "5 %", "fpr-1": "1 %"}
"""Thresholds by the false positive rate that they were calibrated for."""


class Robustness(Enum):
    """What is left under the adaptive worst case; the first rule that holds.

    Upper ends are those of Wilson's 95 % intervals. The network alone answers on the same images: McNemar's test at 5 %
    tells whether it differs.
    """

    UNTRUSTED = "a control failed; without controls: gradients vanish"
    NOTHING = "the upper end is lower than `NOTHING`"
    UNCERTAIN = "no image is left, but the upper end is not that low: too few images"
    LESS = "fewer images than the undefended network's, by McNemar's test"
    MORE = "more images than the undefended network's, by McNemar's test"
    SAME = "McNemar's test tells no difference"


@dataclass(frozen=True)
class Rate:
    """A share of images."""

    successes: int
    count: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.successes / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        return wilson(self.successes, self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{_percent(self.value)} [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Case:
    """What is known of one network and pooling; `checks` is None where the controls were not run."""

    run: Run
    pooling: str
    content: Mapping[str, Any]
    checks: Sequence[Mapping[str, Any]] | None = None

    @property
    def name(self) -> str:
        """What readers call it."""
        return f"{run_name(self.run)}, {self.pooling} features"

    def rate(self, side: str, counted: str) -> Rate:
        """A share of all images: of the ``defended`` or ``undefended`` network, ``clean`` or ``adaptive``."""
        return Rate(self.content[side][f"{counted}_correct"], self.content["n"])

    @property
    def oblivious(self) -> dict[str, Rate]:
        """What feature paths keep when the attacker does not know them, by stopping rule, the least first."""
        correct = self.content["defended"]["oblivious_correct"]
        return {
            stopping_rule: Rate(correct[stopping_rule], self.content["n"])
            for stopping_rule in sorted(correct, key=correct.get)
        }

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """The checks that did not pass; without controls that of vanishing gradients, for which attacks are enough."""
        checks = self.checks
        if checks is None:
            name, passed, found = check_vanished(count_vanished(self.content["attacks"]))
            checks = [{"check": name, "passed": passed, "found": found}]
        return [check for check in checks if not check["passed"]]

    @property
    def untrusted(self) -> str:
        """Why the number cannot be trusted, where `failed` says that it cannot."""
        return "gradients vanish" if self.checks is None else "a control failed"

    @property
    def drop(self) -> float:
        """What knowing the defence takes from the most that feature paths seemed to keep."""
        return max(rate.value for rate in self.oblivious.values()) - self.rate("defended", "adaptive").value

    @property
    def left(self) -> Robustness:
        """Which rule describes it."""
        if self.failed:
            return Robustness.UNTRUSTED
        defended = self.rate("defended", "adaptive")
        if defended.interval[1] < NOTHING:
            return Robustness.NOTHING
        if defended.successes == 0:
            return Robustness.UNCERTAIN
        return self.beside_the_network

    @property
    def beside_the_network(self) -> Robustness:
        """Whether the defence keeps `LESS` or `MORE` images than the network alone, each in its own worst case."""
        test = self.content["mcnemar"]
        if test["p_value"] >= SIGNIFICANT:
            return Robustness.SAME
        return Robustness.LESS if test["first_only"] < test["second_only"] else Robustness.MORE


def compared(one: Rate, other: Rate) -> Robustness:
    """Return whether one rate is `LESS` or `MORE` than another network's, or the `SAME` within their intervals."""
    if one.interval[1] < other.interval[0]:
        return Robustness.LESS
    if one.interval[0] > other.interval[1]:
        return Robustness.MORE
    return Robustness.SAME


def verdict(adaptive: Found, controls: Found = ()) -> str:
    """Return what the adaptive evaluation found, in words, as Markdown.

    Parameters
    ----------
    adaptive
        Of every run and pooling, what ``adaptive/<pooling>.json`` holds; at least one.
    controls
        What ``controls/<pooling>.json`` holds, of those whose controls were run.
    """
    forms = {"title": "# {}", "heading": "## {}", "strong": "**{}**", "plain": "{}"}
    return "\n\n".join(forms[form].format(text) for form, text in _written(adaptive, controls)) + "\n"


def verdict_page(adaptive: Found, controls: Found = ()) -> str:
    """Return the same as an HTML page, with `summary_paragraph` at its head."""
    forms = {"heading": "<h2>{}</h2>", "strong": "<p><strong>{}</strong></p>", "plain": "<p>{}</p>"}
    adaptive, controls = list(adaptive), list(controls)
    (_, title), *rest = _written(adaptive, controls)
    body = [("plain", summary_paragraph(adaptive, controls)), *rest]
    return page(title, "\n".join(forms[form].format(escape(text)) for form, text in body))


def _written(adaptive: Found, controls: Found) -> list[tuple[str, str]]:
    """Return the verdict's paragraphs in order, each with its form."""
    cases = _cases(adaptive, controls)
    written = [("title", TITLE), ("strong", _largest_drop(cases)), *(("plain", text) for text in _explained())]
    for case in cases:
        written += [("heading", case.name), ("plain", _paragraph(case)), ("strong", _conclusion(case, cases))]
    over_seeds = [("plain", _over_seeds(same)) for same in _by_network(cases) if len(same) > 1]
    return written + ([("heading", "Over seeds"), *over_seeds] if over_seeds else [])


def summary_paragraph(adaptive: Found, controls: Found = ()) -> str:
    """Return the same in one paragraph of plain text, for the report's front page."""
    cases = _cases(adaptive, controls)
    sentences = [_largest_drop(cases)]
    phrases = {
        Robustness.NOTHING: "next to nothing is left",
        Robustness.UNCERTAIN: "no image is left, but there are too few to be sure",
        Robustness.LESS: "less is left than the network has alone",
        Robustness.SAME: "what is left cannot be told from what the network has alone",
        Robustness.MORE: "more is left than the network has alone, under the attacks that were tried",
        Robustness.UNTRUSTED: f"{_why(cases)}, so that the number is an upper bound only and cannot be trusted",
    }
    for left, phrase in phrases.items():
        count = sum(case.left is left for case in cases)
        if count:
            every = "both" if count == 2 else f"all {count}"
            which = f"{count} of {len(cases)}" if count < len(cases) else every
            where = "Then" if len(cases) == 1 else f"In {which} cases"
            explained = " (a case is a network and a pooling)" if len(sentences) == 1 and len(cases) > 1 else ""
            sentences.append(f"{where} {phrase}{explained}.")
    unchecked = sum(case.checks is None for case in cases)
    if unchecked:
        which = "" if unchecked == len(cases) else f" for {unchecked} of the {len(cases)} cases"
        sentences.append(f"The controls for masked gradients were not run{which}.")
    return " ".join(sentences)


def _why(cases: Iterable[Case]) -> str:
    """Return why cases are untrusted, those that are."""
    return " or ".join(dict.fromkeys(case.untrusted for case in cases if case.failed))


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _cases(adaptive: Found, controls: Found) -> list[Case]:
    checks = {(run_name(run), pooling): content["checks"] for run, pooling, content in controls}
    return [Case(*found, checks.get((run_name(found[0]), found[1]))) for found in adaptive]


def _explained() -> list[str]:
    return [
        "Accuracies are of all test images, in per cent, with 95 % intervals (Wilson). An oblivious attacker knows the "
        "network and not the defence; an adaptive one knows both. An adaptive accuracy counts an image as lost as soon "
        "as one attack wins it, and is an upper bound: attacks that were not tried may win more. Intervals are over "
        "images, and not over chance in training."
    ]


def _largest_drop(cases: Sequence[Case]) -> str:
    case = max(cases, key=lambda case: case.drop)
    if case.drop <= 0:
        return "Nowhere does an attacker who knows the defence win an image that an oblivious one does not."
    stopping_rule, seeming = list(case.oblivious.items())[-1]
    where = f" ({case.name})" if len(cases) == 1 else f": the largest drop, of {case.name}"
    return (
        f"Feature paths seem to keep {_percent(seeming.value)} under an attack that does not know them "
        f"({stopping_rule}), and keep {_percent(case.rate('defended', 'adaptive').value)} under attacks that do{where}."
    )


def _paragraph(case: Case) -> str:
    doubts = [DOUBTS[doubt] for doubt in case.run.checkpoint.get("doubts", [])]
    return " ".join([_clean(case), _unknown(case), _known(case), *_detection(case), _controls(case), *doubts])


def _clean(case: Case) -> str:
    return (
        f"Without an attack the network answers {case.rate('undefended', 'clean')} of "
        f"{counted_noun(case.content['n'], 'test image')} correctly, with feature paths "
        f"{case.rate('defended', 'clean')}."
    )


def _unknown(case: Case) -> str:
    rates = list(case.oblivious.items())
    content = case.content
    attack = f"{content['attack']}, {NORMS.get(content['norm'], content['norm'])}, eps {_eps(content)}"
    sentence = (
        f"When the attacker does not know the defence ({attack}), feature paths keep {rates[0][1]} ({rates[0][0]})"
    )
    if len(rates) > 1:
        sentence += f" to {rates[-1][1]} ({rates[-1][0]}), depending on where the attack stops"
    return f"{sentence}."


def _known(case: Case) -> str:
    content, defended, alone = case.content, case.rate("defended", "adaptive"), case.rate("undefended", "adaptive")
    attacks = content["attacks"]
    oblivious = sum(attack["threat"] == "oblivious" for attack in attacks)
    budget = f"{counted_noun(content['iterations'], 'iteration')} and {counted_noun(content['restarts'], 'restart')}"
    points = 100 * (defended.value - alone.value)
    difference = "the same" if points == 0 else f"{abs(points):.1f} points {'more' if points > 0 else 'less'}"
    return (
        f"When the attacker knows the defence, {defended} are left: the worst case for each image over "
        f"{counted_noun(len(attacks), 'attack')} on network and defence and {len(content['detectors'])} on single "
        f"detectors, in the same ball, {oblivious} of them oblivious, the others of {budget}. The network alone keeps "
        f"{alone} under attacks aimed at it; with feature paths it is {difference}."
    )


def _detection(case: Case) -> Iterable[str]:
    found = {at["threshold_method"]: at for at in case.content["detection"]}
    clauses, count = [], case.content["n"]
    for method, allowed in FALSE_POSITIVES.items():
        if method in found:
            at = found[method]
            oblivious = sorted(at["oblivious_evaded"].values())
            ends = dict.fromkeys(_percent(evaded / count) for evaded in (oblivious[0], oblivious[-1]))
            clauses.append(
                f"at a threshold for {allowed} false positives (of the test images: "
                f"{_percent(at['flagged_clean'] / count)}) {Rate(at['adaptive_evaded'], count)} of the images are "
                f"answered wrongly and not flagged when the attacker knows it, {' to '.join(ends)} when not"
            )
    if clauses:
        yield f"Detection alone: {'; '.join(clauses)}."


def _controls(case: Case) -> str:
    if case.checks is None:
        vanishing = f" Gradients vanish (found: {case.failed[0]['found']})." if case.failed else ""
        return f"The controls for masked gradients were not run.{vanishing}"
    if not case.failed:
        count = len(case.checks)
        if count == 0:
            return "The controls for masked gradients checked nothing."
        return "The one control passed." if count == 1 else f"All {count} controls passed."
    named = "; ".join(f"{check['check']} (found: {check['found']})" for check in case.failed)
    return f"{len(case.failed)} of {counted_noun(len(case.checks), 'control')} failed: {named}."


def _conclusion(case: Case, cases: Sequence[Case]) -> str:
    defended, alone = case.rate("defended", "adaptive"), case.rate("undefended", "adaptive")
    value, high = _percent(defended.value), _percent(defended.interval[1])
    sentences = {
        Robustness.NOTHING: f"No robustness is left: not one of {counted_noun(defended.count, 'image')} survives."
        if defended.successes == 0
        else f"Next to no robustness is left: {value} of the images survive, with an interval that ends at {high}.",
        Robustness.UNCERTAIN: f"Not one of {counted_noun(defended.count, 'image')} survives, but so few cannot rule out that "
        f"up to {high} would.",
        Robustness.LESS: f"Less robustness is left than the network has alone ({value} against {_percent(alone.value)}): "
        "the defence costs more than it gives.",
        Robustness.SAME: f"What is left ({value}) cannot be told from what the network has alone ({_percent(alone.value)}): "
        f"on the same images, McNemar's test tells no difference (p = {case.content['mcnemar']['p_value']:.2g}).",
        Robustness.MORE: f"Some robustness is left under the attacks that were tried: {value} against "
        f"{_percent(alone.value)} of the network alone.",
        Robustness.UNTRUSTED: f"{_capital(case.untrusted)}: the {value} under attacks that know the defence are only an "
        "upper bound and cannot be trusted as what is left."
        + (" As a bound they are low enough: next to nothing is left." if defended.interval[1] < NOTHING else ""),
    }
    sentence = sentences[case.left]
    if case.left is Robustness.NOTHING and case.beside_the_network is Robustness.LESS:
        sentence += f" The network alone keeps {_percent(alone.value)}."
    if not case.checks:
        sentence += " No control has checked the attacks, so that this is an upper bound only."
    return " ".join([sentence, *_against_adversarial_training(case, cases)])


def _against_adversarial_training(case: Case, cases: Sequence[Case]) -> Iterable[str]:
    """Say how a network with feature paths compares with those that were trained adversarially instead."""
    if case.run.checkpoint["adversarial"]:
        return
    mine = (case.run.model, case.run.seed, case.pooling)
    for other in cases:
        if other.run.checkpoint["adversarial"] and (other.run.model, other.run.seed, other.pooling) == mine:
            alone = other.rate("undefended", "adaptive")
            words = {
                Robustness.LESS: "That is less than the adversarially trained network {} keeps without a defence ({}).",
                Robustness.SAME: "That cannot be told from what the adversarially trained network {} keeps without a defence "
                "({}).",
                Robustness.MORE: "That is more than the adversarially trained network {} keeps without a defence ({}), under "
                "the attacks that were tried.",
            }[compared(case.rate("defended", "adaptive"), alone)]
            if case.left is Robustness.UNTRUSTED and "less" not in words:
                continue  # a bound that is not lower compares with nothing
            yield words.format(run_name(other.run), _percent(alone.value))


def _by_network(cases: Sequence[Case]) -> list[list[Case]]:
    found: dict[tuple[str, str, str], list[Case]] = {}
    for case in cases:
        found.setdefault((case.run.model, case.run.training, case.pooling), []).append(case)
    return list(found.values())


def _over_seeds(cases: Sequence[Case]) -> str:
    run = cases[0].run
    best = [max(rate.value for rate in case.oblivious.values()) for case in cases]
    known, alone = ([case.rate(side, "adaptive").value for case in cases] for side in ("defended", "undefended"))
    untrusted = [case for case in cases if case.left is Robustness.UNTRUSTED]
    reason = _capital(_why(untrusted).replace("a control", "controls"))
    warning = f" {reason} for {len(untrusted)} of the {len(cases)} seeds: upper bounds only." if untrusted else ""
    return (
        f"{run.model}-{run.training}, {cases[0].pooling} features, mean and range over {len(cases)} seeds: feature "
        f"paths seem to keep {_mean_and_range(best)} (the most of any stopping rule) when the attacker does not know "
        f"them, and keep {_mean_and_range(known)} when he does; the network alone keeps {_mean_and_range(alone)}."
        f"{warning}"
    )


def _mean_and_range(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"{_percent(mean)} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _eps(content: Mapping[str, Any]) -> str:
    """Return eps as people write it, in 255ths where it is a whole number of them."""
    levels = 255 * content["eps"]
    if content["norm"] == "linf" and round(levels) > 0 and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255"
    return f"{content['eps']:.4g}"
