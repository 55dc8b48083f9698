"""Tables of detection: metrics of the feature-path detector and of all other detectors."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from featurepaths.report.results import Evaluation, PoolingResults
from featurepaths.report.tables.columns import GROUP_COUNTS, bounded, joined, rate, select
from featurepaths.statistics.metrics import wilson

ON_ITSELF = "at the detector itself"
"""Name of the attack that aims at the row's detector."""


def detection_table(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Metrics of detectors on attacks, at each of their thresholds."""
    return pd.DataFrame(
        {
            **evaluation.run.labels,
            "detector": evaluation.detector,
            "pooling": evaluation.pooling,
            "layers": joined(metrics["layers"]),
            **evaluation.attack_keys,
            "protocol": protocol,
            "seed": evaluation.run.seed,
            **_metrics(method, metrics, evaluation.content),
        }
        for evaluation in evaluations
        for protocol, metrics in evaluation.content["protocols"].items()
        for method in metrics["at_threshold"]
    )


def detector_table(oblivious: PoolingResults, adaptive: PoolingResults) -> pd.DataFrame:
    """Metrics of every detector under oblivious attacks, and under an attack that aims at the detector.

    Parameters
    ----------
    oblivious
        Per run and pooling, the content of ``detection/<pooling>/rivals.json``.
    adaptive
        Per run and pooling, the content of ``adaptive/<pooling>.json``.
    """
    evaluations, layers = [], {}
    for run, pooling, content in oblivious:
        for detector in content["detectors"]:
            name = detector["detector"]
            layers[str(run), pooling, name] = detector["layers"]
            for metrics in detector["evaluations"]:
                held_out = _held_out(metrics, detector["layers"])
                attack = metrics["attack"], metrics["stopping_rule"]
                evaluations.append(Evaluation(run, pooling, name, *attack, held_out))
    for run, pooling, content in adaptive:
        for metrics in content["detectors"]:
            name = metrics["detector"]
            held_out = _held_out(metrics, layers.get((str(run), pooling, name)))
            evaluations.append(Evaluation(run, pooling, name, ON_ITSELF, None, held_out, threat="adaptive"))
    return detection_table(evaluations)


def calibration_matrix_table(oblivious: PoolingResults) -> pd.DataFrame:
    """Metrics of every detector with its threshold calibrated on one attack and tested on another.

    Parameters
    ----------
    oblivious
        Per run and pooling, the content of ``detection/<pooling>/rivals.json``.
    """
    return pd.DataFrame(
        {
            **run.labels,
            "detector": detector["detector"],
            "pooling": pooling,
            **select(cell, "calibrated_on", "tested_on"),
            **{"threat": "oblivious", "protocol": "held-out", "seed": run.seed, "threshold": cell["threshold"]},
            **rate("detection_rate", cell["flagged_adversarial"], cell["n"]),
            **rate("false_positive_rate", cell["flagged_clean"], cell["n"]),
            **newcombe_balanced_accuracy(cell["flagged_adversarial"], cell["n"], cell["flagged_clean"], cell["n"]),
            "n": cell["n"],
        }
        for run, pooling, content in oblivious
        for detector in content["detectors"]
        for cell in detector["matrix"]
    )


def newcombe_balanced_accuracy(detected: int, adversarial: int, false: int, clean: int) -> dict[str, float]:
    """Return the balanced accuracy with Newcombe's (1998) hybrid interval, which treats the rates as independent."""
    if not adversarial or not clean:
        return bounded("balanced_accuracy", math.nan, 0.0, 1.0)
    rates = detected / adversarial, 1 - false / clean
    intervals = wilson(detected, adversarial), wilson(clean - false, clean)
    below = math.hypot(*(rate - low for rate, (low, _) in zip(rates, intervals, strict=True)))
    above = math.hypot(*(high - rate for rate, (_, high) in zip(rates, intervals, strict=True)))
    value = sum(rates) / 2
    return bounded("balanced_accuracy", value, value - below / 2, value + above / 2)


def _held_out(metrics: Mapping[str, Any], layers: Sequence[int] | None) -> dict[str, Any]:
    # each adversarial example is paired with its clean image
    counts = {"n_clean": metrics["n"], "n_adversarial": metrics["n"], **select(metrics, *GROUP_COUNTS)}
    return {**counts, "protocols": {"held-out": {**metrics, "layers": layers}}}


def _metrics(method: str, metrics: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the columns of a detector's metrics at the threshold of one method."""
    flagged, intervals = metrics["at_threshold"][method], metrics["intervals"]
    n_clean, n_adversarial = counts["n_clean"], counts["n_adversarial"]
    detected, false = flagged["flagged_adversarial"], flagged["flagged_clean"]
    balanced = (detected / n_adversarial + 1 - false / n_clean) / 2
    auroc, interval = metrics["successful"]["auroc"], metrics["successful"]["interval"]
    if auroc is None:
        auroc, interval = math.nan, (math.nan, math.nan)
    columns = {"threshold": flagged["threshold"], "threshold_method": method}
    for metric, value in metrics["ranking"].items():
        columns |= bounded(metric, value, *intervals[metric])
    return {
        **columns,
        **rate("detection_rate", detected, n_adversarial),
        **rate("false_positive_rate", false, n_clean),
        **bounded("balanced_accuracy", balanced, *intervals[f"balanced_accuracy.{method}"]),
        **bounded("successful_auroc", auroc, *interval),
        **rate("successful_detection_rate", flagged["flagged_successful"], counts["n_successful"]),
        **rate("unsuccessful_detection_rate", flagged["flagged_unsuccessful"], counts["n_unsuccessful"]),
        **select(counts, "n_clean", "n_adversarial", *GROUP_COUNTS),
    }
