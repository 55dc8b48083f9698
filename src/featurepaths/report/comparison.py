"""The tables of the adaptive evaluation: what is left when the attacker knows the defence.

Rates are fractions with 95 % intervals, and every row says what its attacker knew (`threat`). All of it is held-out:
one frozen defence, calibrated on images that no metric sees.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from featurepaths.report.tables import GROUP_COUNTS, Run, bounded, detection_columns, joined, rate
from featurepaths.statistics.metrics import wilson
from featurepaths.statistics.paired import mcnemar

Found = Iterable[tuple[Run, str, Mapping[str, Any]]]
"""Of every run and pooling, the content of one of its artefacts."""

WORST_CASE = "worst case over all"
AT_ITSELF = "at the detector itself"

TITLES = {
    "adaptive": (
        "Attacks on the frozen defence",
        "Per cent with 95 % intervals (Wilson), over the images that an attack attacked (`n attacked`); the worst case "
        "counts an image as lost as soon as one attack wins it. `oblivious` attacks know the network only, `adaptive` "
        "ones the defence too. Gradient vanished is the share of attacked images whose gradient was zero in every "
        "pixel, or not finite in some, at some step.",
    ),
    "comparison": (
        "The fair comparison: everyone under the strongest attack at itself",
        "Per cent with 95 % intervals (Wilson). `adaptive`: the worst case for each image over all attacks, by an "
        "attacker who knows everything that is attacked. For an undefended network that is the only row, because an "
        "attacker who knows the network knows all there is. `oblivious`: the attacker knows the network and not the "
        "feature paths, so these rows say nothing about one who does. McNemar's test compares feature paths with "
        "the undefended network of the same row's run, pooling and images, each under its own worst case.",
    ),
    "detectors": (
        "Detectors, oblivious and attacked themselves",
        "Per cent with 95 % intervals (Wilson for rates at a threshold, bootstrap over images otherwise). Adversarial "
        "images are the positive class. `oblivious` attacks know the network only; `adaptive` ones know the row's "
        "detector and aim at it. Thresholds saw calibration images only.",
    ),
    "calibration_matrix": (
        "Calibrated on one attack, tested on another",
        "Per cent with 95 % intervals (Wilson; of the balanced accuracy Newcombe's). A balanced accuracy of 50 % is "
        "chance. Attacks know the network only (oblivious).",
    ),
    "evasion": (
        "Detection alone: images that fool the network and are not flagged",
        "Per cent of all test images, with 95 % intervals (Wilson). Thresholds saw calibration images only.",
    ),
    "adaptive_summary": (
        "Over seeds: attackers who know the defence, and rival detectors",
        "Mean and standard deviation over training seeds; attack seeds are averaged first. The interval is Student's "
        "over training seeds, or that of the only run.",
    ),
    "controls": (
        "Controls for masked gradients",
        "Per cent with 95 % intervals (Wilson). The undefended network was attacked itself. Missed: images that this "
        "attack wins and no gradient attack did.",
    ),
    "checks": ("What the controls have to show", "A check that fails makes the adaptive accuracy an upper bound only."),
}
"""Each table's title, and what its readers need to know."""


def title_of(name: str, adaptive: Found) -> tuple[str, str]:
    """Return a table's title and what its readers need to know: which searches few classes did not allow, too."""
    title, note = TITLES[name]
    words = sorted({content["left_out"] for _, _, content in adaptive if content.get("left_out")})
    if name == "adaptive" and words:
        note += f" Left out, because there are too few classes: {'; '.join(words)}."
    return title, note


def run_name(run: Run) -> str:
    """Return a run's name as its folder has it."""
    return f"{run.model}-{run.training}-s{run.seed}"


def adaptive_table(found: Found) -> pd.DataFrame:
    """What every attack leaves of the defence and of the network in it, and what all of them together leave.

    Rates are of the images that an attack attacked; the last row of each run and pooling is the worst case for each
    image over all attacks, of all images: of the network, over those attacks too that aim at it.
    """
    rows = []
    for run, pooling, content in found:
        where = _where(run, pooling)
        for attack in content["attacks"]:
            attacked = attack["attacked"]
            rows.append(
                {
                    **where,
                    "attack": attack["name"],
                    **{key: attack[key] for key in ("objective", "loss", "targeted", "threat")},
                    **_attacked(attack["defended_correct"], attack["network_correct"], attacked),
                    "gradient_vanished": attack["vanished"] / attacked if attacked else math.nan,
                    "n_queries": attack["n_queries"],
                }
            )
        left = content["defended"]["adaptive_correct"], content["undefended"]["adaptive_correct"]
        rows.append({**where, "attack": WORST_CASE, "threat": "adaptive", **_attacked(*left, content["n"])})
    return pd.DataFrame(rows).astype({"n_queries": "Int64"})


def _attacked(defended: int, undefended: int, attacked: int) -> dict[str, Any]:
    return {
        "protocol": "held-out",
        "n_attacked": attacked,
        **rate("adversarial_accuracy", defended, attacked),
        **rate("undefended_accuracy", undefended, attacked),
    }


def comparison_table(found: Found, correct: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """The fair comparison: networks and feature paths, every one under the strongest attack at itself.

    An undefended network has one row a pooling, under its own worst case: its attacker knows all there is to know.
    Feature paths have one for each stopping rule of the oblivious attack and one for the adaptive worst case, which
    McNemar's test compares with the undefended network's.

    Parameters
    ----------
    found
        What ``adaptive/<pooling>.json`` of every run holds.
    correct
        By ``<run>/<pooling>``, which images were answered correctly, bool [N], by ``undefended/adaptive`` and
        ``defended/adaptive``.
    """
    rows = []
    for run, pooling, content in found:
        count = content["n"]
        where = {
            **_where(run, pooling),
            "norm": content["norm"],
            "eps": content["eps"],
            "n": count,
            "protocol": "held-out",
        }
        answers = correct[f"{run_name(run)}/{pooling}"]
        test = mcnemar(answers["defended/adaptive"][:], answers["undefended/adaptive"][:])
        for side, method in (("undefended", "undefended"), ("defended", "feature paths")):
            counts = content[side]
            row = {**where, "method": method, **rate("clean_accuracy", counts["clean_correct"], count)}
            if side == "defended":
                row["threshold_method"] = content["threshold_method"]
                for stopping_rule, right in counts["oblivious_correct"].items():
                    attack = {"attack": content["attack"], "stopping_rule": stopping_rule, "threat": "oblivious"}
                    rows.append({**row, **attack, **rate("adversarial_accuracy", right, count)})
            row |= {"attack": WORST_CASE, "threat": "adaptive"}
            row |= rate("adversarial_accuracy", counts["adaptive_correct"], count)
            if side == "defended":
                row |= {
                    "only_feature_paths_correct": test["first_only"],
                    "only_undefended_correct": test["second_only"],
                }
                row |= {"mcnemar_p": test["p_value"]}
            rows.append(row)
    rates = [f"{name}_accuracy{end}" for name in ("clean", "adversarial") for end in ("", "_low", "_high")]
    columns = ["model", "training", "method", "pooling", "threat", "attack", "stopping_rule", "norm", "eps", "protocol",
               "threshold_method", "seed", *rates, "n", "only_feature_paths_correct", "only_undefended_correct",
               "mcnemar_p"]  # fmt: skip
    integers = dict.fromkeys(["only_feature_paths_correct", "only_undefended_correct"], "Int64")
    return pd.DataFrame(rows, columns=columns).astype(integers)


def detector_table(oblivious: Found, adaptive: Found) -> pd.DataFrame:
    """How well every detector tells adversarial from clean images, and what is left when the attack aims at it.

    Parameters
    ----------
    oblivious
        What ``detectors/<pooling>.json`` of every run holds.
    adaptive
        What ``adaptive/<pooling>.json`` holds.
    """
    rows = []
    for run, pooling, content in oblivious:
        for detector in content["detectors"]:
            layers = None if detector["layers"] is None else joined(detector["layers"])
            for measured in detector["evaluations"]:
                attack = {
                    "attack": measured["attack"],
                    "stopping_rule": measured["stopping_rule"],
                    "threat": "oblivious",
                }
                rows += _detector_rows(run, pooling, {**measured, "detector": detector["detector"]}, layers, attack)
    layers_of = {(row["model"], row["training"], row["seed"], row["pooling"], row["detector"]): row["layers"]
                 for row in rows}  # fmt: skip
    for run, pooling, content in adaptive:
        for measured in content["detectors"]:
            layers = layers_of.get((run.model, run.training, run.seed, pooling, measured["detector"]))
            attack = {"attack": AT_ITSELF, "stopping_rule": None, "threat": "adaptive"}
            rows += _detector_rows(run, pooling, measured, layers, attack)
    return pd.DataFrame(rows)


def _detector_rows(
    run: Run, pooling: str, measured: Mapping[str, Any], layers: str | None, attack: Mapping[str, Any]
) -> Iterable[dict[str, Any]]:
    # a clean image and its adversarial example are a pair: there are as many of the one as of the other
    counts = {"n_clean": measured["n"], "n_adversarial": measured["n"]}
    counts |= {key: measured[key] for key in GROUP_COUNTS}
    for method in measured["at_threshold"]:
        yield {
            **run.labels,
            "detector": measured["detector"],
            "pooling": pooling,
            "layers": layers,
            **attack,
            "protocol": "held-out",
            "seed": run.seed,
            **detection_columns(method, measured, counts),
        }


def calibration_matrix_table(found: Found) -> pd.DataFrame:
    """How every detector does at the threshold that one attack's examples gave it, on another attack's."""
    return pd.DataFrame(
        {
            **run.labels,
            "detector": detector["detector"],
            "pooling": pooling,
            "calibrated_on": cell["calibrated_on"],
            "tested_on": cell["tested_on"],
            "threat": "oblivious",
            "protocol": "held-out",
            "seed": run.seed,
            "threshold": cell["threshold"],
            **rate("detection_rate", cell["flagged_adversarial"], cell["n"]),
            **rate("false_positive_rate", cell["flagged_clean"], cell["n"]),
            **_balanced(cell["flagged_adversarial"], cell["n"], cell["flagged_clean"], cell["n"]),
            "n": cell["n"],
        }
        for run, pooling, content in found
        for detector in content["detectors"]
        for cell in detector["matrix"]
    )


def _balanced(detected: int, adversarial: int, false: int, clean: int) -> dict[str, float]:
    """Return the balanced accuracy with Newcombe's (1998) hybrid interval, as if the two rates were independent."""
    if not adversarial or not clean:
        return bounded("balanced_accuracy", math.nan, 0.0, 1.0)
    rates = detected / adversarial, 1 - false / clean
    intervals = wilson(detected, adversarial), wilson(clean - false, clean)
    below = math.hypot(*(rate - low for rate, (low, _) in zip(rates, intervals, strict=True)))
    above = math.hypot(*(high - rate for rate, (_, high) in zip(rates, intervals, strict=True)))
    value = sum(rates) / 2
    return bounded("balanced_accuracy", value, value - below / 2, value + above / 2)


def evasion_table(found: Found) -> pd.DataFrame:
    """Detection alone: the share of all images that fool the network and are not flagged, by threshold and threat."""
    return pd.DataFrame(
        {
            **_where(run, pooling),
            "threshold_method": at["threshold_method"],
            "threshold": at["threshold"],
            "threat": threat,
            "attack": attack,
            "stopping_rule": stopping_rule,
            "protocol": "held-out",
            **rate("false_positive_rate", at["flagged_clean"], content["n"]),
            **rate("evasion_rate", evaded, content["n"]),
            "n": content["n"],
        }
        for run, pooling, content in found
        for at in content["detection"]
        for threat, attack, stopping_rule, evaded in [
            *(
                ("oblivious", content["attack"], stopping_rule, evaded)
                for stopping_rule, evaded in at["oblivious_evaded"].items()
            ),
            ("adaptive", WORST_CASE, None, at["adaptive_evaded"]),
        ]
    )


def controls_table(found: Found) -> pd.DataFrame:
    """Every control that was run, one row a setting."""
    rows = [
        {**_where(run, pooling), "control": control, "setting": setting, **_counted(counts)}
        for run, pooling, content in found
        for control, setting, counts in _controls(content)
    ]
    rates = ("defended_accuracy", "undefended_accuracy", "flagged_rate", "gradient_vanished")
    columns = ["model", "training", "pooling", "seed", "control", "setting", "n", "missed",
               *(f"{name}{end}" for name in rates for end in ("", "_low", "_high"))]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype({"missed": "Int64"})


def _controls(content: Mapping[str, Any]) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    shared = {"n": content["n"]}
    for at in content["eps"]:
        yield "size of the perturbation", f"eps {at['eps']:.4g} (× {at['multiple']})", shared | at
    for at in content["budget"]:
        setting = f"{counted_noun(at['iterations'], 'iteration')}, {counted_noun(at['restarts'], 'restart')}"
        yield "search budget", setting, shared | at
    black_box, transfer = content["black_box"], content["transfer"]
    yield "without gradients", f"{black_box['attack']}, {counted_noun(black_box['n_queries'], 'query')}", black_box
    if transfer["source"] is not None:
        yield "transferred", f"from {transfer['source']}", transfer
    yield "vanished gradients", "", {"n": content["vanished"]["n"], "vanished": content["vanished"]["images"]}
    for at in content["false_positives"]:
        yield "no attack", at["corruption"] if at["corruption"] == "clean" else f"{at['corruption']} {at['level']}", at


def _counted(counts: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"n": counts["n"]}
    if "missed" in counts:
        columns["missed"] = counts["missed"]
    for column, keys in {
        "defended_accuracy": ("defended_correct",),
        "undefended_accuracy": ("undefended_correct", "network_correct"),
        "flagged_rate": ("flagged",),
        "gradient_vanished": ("vanished",),
    }.items():
        for key in keys:
            if key in counts:
                columns |= rate(column, counts[key], counts["n"])
    return columns


def checks_table(found: Found) -> pd.DataFrame:
    """What the controls had to show, and what they did."""
    return pd.DataFrame(
        [
            {**_where(run, pooling), **{key: check[key] for key in ("check", "passed", "found")}}
            for run, pooling, content in found
            for check in content["checks"]
        ]
    )


def _where(run: Run, pooling: str) -> dict[str, Any]:
    return {**run.labels, "pooling": pooling, "seed": run.seed}


def counted_noun(count: int, noun: str) -> str:
    """Return a number and its noun, in the plural unless it is one."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
