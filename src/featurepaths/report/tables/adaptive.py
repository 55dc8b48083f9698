"""Tables of the adaptive evaluation: robustness against an attacker who knows the defence.

Rates are fractions with 95 % intervals. The column `threat` states what the attacker knows. All rows are held-out: one
frozen defence, calibrated on images that no metric uses.
"""

import math
from typing import Any

import pandas as pd

from featurepaths.report.results import PoolingResults
from featurepaths.report.tables.columns import interval_columns, rate, select

WORST_CASE = "worst case over all"


def adaptive_table(adaptive: PoolingResults) -> pd.DataFrame:
    """Accuracy of the defence and of its network under every attack, and under all of them together.

    Rates are over the images that an attack attacked. The last row of each run and pooling is the per-image worst case
    over all attacks and all images; the network's worst case includes the attacks aimed at it.
    """
    rows = []
    for run, pooling, content in adaptive:
        keys = run.keys(pooling)
        for attack in content["attacks"]:
            attacked = attack["attacked"]
            rows.append(
                {
                    **keys,
                    "attack": attack["name"],
                    **select(attack, "objective", "loss", "targeted", "threat"),
                    **_accuracies(attack["defended_correct"], attack["network_correct"], attacked),
                    "gradient_vanished": attack["vanished"] / attacked if attacked else math.nan,
                    "n_queries": attack["n_queries"],
                }
            )
        worst = [content[side]["adaptive_correct"] for side in ("defended", "undefended")]
        rows.append({**keys, "attack": WORST_CASE, "threat": "adaptive", **_accuracies(*worst, content["n"])})
    return pd.DataFrame(rows).astype({"n_queries": "Int64"})


def _accuracies(defended: int, undefended: int, attacked: int) -> dict[str, Any]:
    return {
        "protocol": "held-out",
        "n_attacked": attacked,
        **rate("adversarial_accuracy", defended, attacked),
        **rate("undefended_accuracy", undefended, attacked),
    }


def omitted_attacks(adaptive: PoolingResults) -> str:
    """Return a sentence about the attacks that need more classes than the data set has, '' if there are none."""
    reasons = sorted({content["left_out"] for _, _, content in adaptive if content.get("left_out")})
    return f" Omitted because there are too few classes: {'; '.join(reasons)}." if reasons else ""


def comparison_table(adaptive: PoolingResults) -> pd.DataFrame:
    """Networks and feature paths side by side, each under the strongest attack against it.

    An undefended network has one row per pooling, under its own worst case: its attacker knows everything. Feature
    paths have one row per stopping rule of the oblivious attack, and one for the adaptive worst case, which McNemar's
    test compares with the worst case of the undefended network.
    """
    rows = []
    for run, pooling, content in adaptive:
        n, test = content["n"], content["mcnemar"]
        keys = {**run.keys(pooling), **select(content, "norm", "eps", "n"), "protocol": "held-out"}
        worst = {"attack": WORST_CASE, "threat": "adaptive"}
        network, defended = (
            keys | {"method": method} | rate("clean_accuracy", content[side]["clean_correct"], n)
            for side, method in (("undefended", "undefended"), ("defended", "feature paths"))
        )
        defended["threshold_method"] = content["threshold_method"]
        rows += [
            network | worst | rate("adversarial_accuracy", content["undefended"]["adaptive_correct"], n),
            *(
                defended
                | {"attack": content["attack"], "stopping_rule": stopping_rule, "threat": "oblivious"}
                | rate("adversarial_accuracy", correct, n)
                for stopping_rule, correct in content["defended"]["oblivious_correct"].items()
            ),
            {
                **defended,
                **worst,
                **rate("adversarial_accuracy", content["defended"]["adaptive_correct"], n),
                "only_feature_paths_correct": test["first_only"],
                "only_undefended_correct": test["second_only"],
                "mcnemar_p": test["p_value"],
            },
        ]
    columns = ["model", "training", "method", "pooling", "threat", "attack", "stopping_rule", "norm", "eps", "protocol",
               "threshold_method", "seed", *interval_columns("clean_accuracy", "adversarial_accuracy"), "n",
               "only_feature_paths_correct", "only_undefended_correct", "mcnemar_p"]  # fmt: skip
    integers = dict.fromkeys(["only_feature_paths_correct", "only_undefended_correct"], "Int64")
    return pd.DataFrame(rows, columns=columns).astype(integers)


def evasion_table(adaptive: PoolingResults) -> pd.DataFrame:
    """Detection alone: share of all images misclassified by the network and not flagged, by threshold and threat."""
    return pd.DataFrame(
        {
            **run.keys(pooling),
            **select(detection, "threshold_method", "threshold"),
            **{"threat": threat, "attack": attack, "stopping_rule": stopping_rule, "protocol": "held-out"},
            **rate("false_positive_rate", detection["flagged_clean"], content["n"]),
            **rate("evasion_rate", evaded, content["n"]),
            "n": content["n"],
        }
        for run, pooling, content in adaptive
        for detection in content["detection"]
        for threat, attack, stopping_rule, evaded in [
            *(("oblivious", content["attack"], *evaded) for evaded in detection["oblivious_evaded"].items()),
            ("adaptive", WORST_CASE, None, detection["adaptive_evaded"]),
        ]
    )
