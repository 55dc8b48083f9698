"""Tables of the adaptive evaluation: robustness against an attacker who knows the defence.

Rates are fractions with 95 % intervals. The column `threat` states what the attacker knows. All rows are held-out: one
frozen defence, calibrated on images that no metric uses.
"""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from featurepaths.report.results import Result
from featurepaths.report.tables.table import build

WORST_CASE = {"attack": "worst case over all", "threat": "adaptive"}
HELD_OUT = {"protocol": "held-out"}


def adaptive_table(adaptive: Iterable[Result]) -> pd.DataFrame:
    """Accuracy of the defence and of its network under every attack, and under all of them together.

    Rates are over the images that an attack attacked. The last row of each run and pooling is the per-image worst case
    over all attacks and all images; the network's worst case includes the attacks aimed at it.
    """
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any], defended: int, undefended: int, n: int) -> None:
        rows.append(row | {"adversarial_correct": defended, "undefended_correct": undefended, "n": n, "n_attacked": n})

    for result in adaptive:
        content, keys = result.content, result.keys | HELD_OUT
        for attack in content["attacks"]:
            row = {**keys, **attack, "attack": attack["name"]}
            add(row, attack["defended_correct"], attack["network_correct"], attack["attacked"])
        correct = [content[side]["adaptive_correct"] for side in ("defended", "undefended")]
        add(keys | WORST_CASE, *correct, content["n"])
    return build("adaptive", rows)


def omitted_attacks(adaptive: Iterable[Result]) -> str:
    """Return a sentence about the attacks that need more classes than the data set has, '' if there are none."""
    reasons = sorted({result.content["left_out"] for result in adaptive if result.content.get("left_out")})
    return f" Omitted because there are too few classes: {'; '.join(reasons)}." if reasons else ""


def comparison_table(adaptive: Iterable[Result]) -> pd.DataFrame:
    """Networks and feature paths side by side, each under the strongest attack against it.

    An undefended network has one row per pooling, under its own worst case: its attacker knows everything. Feature
    paths have one row per stopping rule of the oblivious attack, and one for the adaptive worst case, which McNemar's
    test compares with the worst case of the undefended network.
    """
    rows = []
    for result in adaptive:
        content, test = result.content, result.content["mcnemar"]
        network, defended = (
            {
                **result.keys,
                **HELD_OUT,
                **{key: content[key] for key in ("norm", "eps", "n", "attack")},
                "method": method,
                "clean_correct": content[side]["clean_correct"],
                "adversarial_correct": content[side]["adaptive_correct"],
            }
            for side, method in (("undefended", "undefended"), ("defended", "feature paths"))
        )
        defended["threshold_method"] = content["threshold_method"]
        tested = {"only_feature_paths_correct": "first_only", "only_undefended_correct": "second_only",
                  "mcnemar_p": "p_value"}  # fmt: skip
        rows.append(network | WORST_CASE)
        for stopping_rule, correct in content["defended"]["oblivious_correct"].items():
            rows.append(defended | {"stopping_rule": stopping_rule, "adversarial_correct": correct})
        rows.append(defended | WORST_CASE | {column: test[key] for column, key in tested.items()})
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
