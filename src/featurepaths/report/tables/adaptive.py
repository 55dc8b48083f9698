"""Tables of the adaptive evaluation, robustness against an attacker who knows the defence, and of its controls.

Rates are fractions with 95 % intervals. The column `threat` states what the attacker knows. All rows are held-out: one
frozen defence, calibrated on images that no metric uses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from featurepaths.report.results import Result, counted_noun
from featurepaths.report.tables.table import build

WORST_CASE = {"attack": "worst case over all", "threat": "adaptive"}
HELD_OUT = {"protocol": "held-out"}
BUDGET = {"iterations": "iteration", "restarts": "restart", "n_targets": "target"}
MCNEMAR = {"only_feature_paths_correct": "first_only", "only_undefended_correct": "second_only", "mcnemar_p": "p_value"}
"""Numbers of McNemar's test by their columns."""


def adaptive_table(adaptive: Sequence[Result]) -> pd.DataFrame:
    """Accuracy of the defence and of its network under every attack, and under all of them together.

    Rates are over the images that an attack attacked. The last row of each run and pooling is the per-image worst case
    over all attacks and all images; the network's worst case includes the attacks aimed at it. The table's remark names
    the attacks that need more classes than the data set has.
    """
    table = build("adaptive", [result.keys | HELD_OUT | row for result in adaptive for row in _attacks(result.content)])
    table.attrs["remark"] = _omitted(result.content for result in adaptive)
    return table


def evaluation_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """Accuracy of one defence and of its network: clean, under every attack, and in the worst case over all.

    `content` has the counts of `featurepaths.statistics.evaluation.summarise`.
    """
    table = build("evaluation", [_on_all({"attack": "none"}, content, "clean_correct"), *_attacks(content)])
    table.attrs["remark"] = _omitted([content])
    return table


def _omitted(contents: Iterable[Mapping[str, Any]]) -> str:
    """Return a sentence on the searches that need more classes, empty if there are none."""
    reasons = sorted({content["left_out"] for content in contents if content.get("left_out")})
    return f" Omitted because there are too few classes: {'; '.join(reasons)}." if reasons else ""


def _attacks(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the row of every attack, over the images that it attacked, and that of the worst case."""
    for attack in content["attacks"]:
        row = {**attack, "attack": attack["name"]}
        yield _row(row, attack["defended_correct"], attack["network_correct"], attack["attacked"])
    yield _on_all(WORST_CASE, content, "adaptive_correct")


def _on_all(row: Mapping[str, Any], content: Mapping[str, Any], count: str) -> dict[str, Any]:
    """Return a row over all images, with a count of the defence and of its network."""
    return _row(row, content["defended"][count], content["undefended"][count], content["n"])


def _row(row: Mapping[str, Any], defended: int, undefended: int, n: int) -> dict[str, Any]:
    counts = {"adversarial_correct": defended, "defended_correct": defended, "undefended_correct": undefended}
    return {**row, **counts, "n": n, "n_attacked": n}


def comparison_table(adaptive: Iterable[Result]) -> pd.DataFrame:
    """Networks and feature paths side by side, each under the strongest attack against it.

    An undefended network has one row per pooling, under its own worst case: its attacker knows everything. Feature
    paths have one row per stopping rule of the oblivious attack, and one for the adaptive worst case, which McNemar's
    test compares with the worst case of the undefended network.
    """
    rows = []
    for result in adaptive:
        content, defended = result.content, result.content["defended"]
        shared = {**result.keys, **content, **defended, **HELD_OUT, "method": "feature paths"}
        network = content["undefended"] | {"method": "undefended", "threshold_method": None}
        rows.append(shared | network | WORST_CASE | {"adversarial_correct": network["adaptive_correct"]})
        for stopping_rule, correct in defended["oblivious_correct"].items():
            rows.append(shared | {"stopping_rule": stopping_rule, "adversarial_correct": correct})
        tested = {column: content["mcnemar"][key] for column, key in MCNEMAR.items()}
        rows.append(shared | WORST_CASE | tested | {"adversarial_correct": defended["adaptive_correct"]})
    return build("comparison", rows)


def evasion_table(adaptive: Iterable[Result]) -> pd.DataFrame:
    """Detection alone: share of all images misclassified by the network and not flagged, by threshold and threat."""
    rows = []
    for result in adaptive:
        n = result.content["n"]
        for detection in result.content["detection"]:
            row = {**result.keys, **detection, **HELD_OUT, "attack": result.content["attack"], "n": n, "n_clean": n}
            for stopping_rule, evaded in detection["oblivious_evaded"].items():
                rows.append(row | {"stopping_rule": stopping_rule, "evaded": evaded})
            rows.append(row | WORST_CASE | {"evaded": detection["adaptive_evaded"]})
    return build("evasion", rows)


def controls_table(controls: Iterable[Result]) -> pd.DataFrame:
    """Results of every control, one row per setting."""
    rows = (
        {**result.keys, "n": result.content["n"], **counts, "control": control, "setting": setting}
        for result in controls
        for control, setting, counts in _settings(result.content)
    )
    return build("controls", rows)


def _settings(content: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the control, the setting and the counts of each row."""
    for counts in content["eps"]:
        yield "size of the perturbation", f"eps {counts['eps']:.4g} (× {counts['multiple']})", counts
    for counts in content["budget"]:
        grown = (counted_noun(counts[key], noun) for key, noun in BUDGET.items() if counts[key])
        yield "search budget", ", ".join(grown), counts
    black_box, transfer, vanished = content["black_box"], content["transfer"], content["vanished"]
    if black_box["n_queries"]:
        yield "without gradients", f"{black_box['attack']}, {counted_noun(black_box['n_queries'], 'query')}", black_box
    if transfer["source"] is not None:
        yield "transferred", f"from {transfer['source']}", transfer
    yield "vanished gradients", "", {"n": vanished["n"], "vanished": vanished["images"]}
    for counts in content["false_positives"]:
        corruption = counts["corruption"]
        setting = corruption if corruption == "clean" else f"{corruption} {counts['level']}"
        yield "no attack", setting, counts | {"undefended_correct": counts["network_correct"]}


def checks_table(controls: Iterable[Result]) -> pd.DataFrame:
    """Checks on the controls: what each requires, whether it passed, and the measured value."""
    rows = (result.keys | check for result in controls for check in result.content["checks"])
    return build("checks", rows)
