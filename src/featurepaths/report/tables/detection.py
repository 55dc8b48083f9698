"""Tables of detection: metrics of the feature-path detector and of all other detectors."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from featurepaths.report.results import Result
from featurepaths.report.tables.table import bounded, build, joined
from featurepaths.statistics.metrics import wilson

ON_ITSELF = "at the detector itself"
"""Name of the attack that aims at the row's detector."""


def detection_table(results: Iterable[Result]) -> pd.DataFrame:
    """Metrics of detectors on attacks, at each of their thresholds."""
    rows = (
        row
        for result in results
        for protocol, metrics in result.content["protocols"].items()
        for row in _at_thresholds({**result.keys, **result.content, "protocol": protocol}, metrics)
    )
    return build("detection", rows)


def detector_table(oblivious: Iterable[Result], adaptive: Iterable[Result]) -> pd.DataFrame:
    """Metrics of every detector under oblivious attacks, and under an attack that aims at the detector.

    Parameters
    ----------
    oblivious
        The contents of ``detection/<pooling>/detector_evaluation.json``.
    adaptive
        The contents of ``adaptive/<pooling>.json``.
    """
    evaluations = [
        (result, detector | metrics)
        for result in oblivious
        for detector in result.content["detectors"]
        for metrics in detector["evaluations"]
    ]
    layers = {(result.run, result.pooling, metrics["detector"]): metrics["layers"] for result, metrics in evaluations}
    for result in adaptive:
        for metrics in result.content["detectors"]:
            its_layers = layers.get((result.run, result.pooling, metrics["detector"]))
            on_itself = {"attack": ON_ITSELF, "threat": "adaptive", "layers": its_layers}
            evaluations.append((result, metrics | on_itself))
    rows = (row for result, metrics in evaluations for row in _at_thresholds(result.keys | _held_out(metrics), metrics))
    return build("detectors", rows)


def _held_out(counts: Mapping[str, Any]) -> dict[str, Any]:
    # each adversarial example is paired with its clean image
    return {"protocol": "held-out", "n_clean": counts["n"], "n_adversarial": counts["n"]}


def _at_thresholds(keys: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row of a detector's metrics at the threshold of each method."""
    intervals, successful = metrics["intervals"], metrics["successful"]
    row = {**keys, **metrics, "layers": joined(metrics["layers"])}
    for metric, value in metrics["ranking"].items():
        row |= bounded(metric, value, *intervals[metric])
    if successful["auroc"] is not None:
        row |= bounded("successful_auroc", successful["auroc"], *successful["interval"])
    for method, flagged in metrics["at_threshold"].items():
        detected = flagged["flagged_adversarial"] / row["n_adversarial"]
        balanced = (detected + 1 - flagged["flagged_clean"] / row["n_clean"]) / 2
        balanced = bounded("balanced_accuracy", balanced, *intervals[f"balanced_accuracy.{method}"])
        yield {**row, **flagged, "threshold_method": method, **balanced}


def calibration_matrix_table(oblivious: Iterable[Result]) -> pd.DataFrame:
    """Metrics of every detector with its threshold calibrated on one attack and tested on another.

    Parameters
    ----------
    oblivious
        The contents of ``detection/<pooling>/detector_evaluation.json``.
    """
    rows = (
        {
            **result.keys,
            **cell,
            "detector": detector["detector"],
            **_held_out(cell),
            **newcombe_balanced_accuracy(cell["flagged_adversarial"], cell["n"], cell["flagged_clean"], cell["n"]),
        }
        for result in oblivious
        for detector in result.content["detectors"]
        for cell in detector["matrix"]
    )
    return build("calibration_matrix", rows)


def newcombe_balanced_accuracy(detected: int, adversarial: int, false: int, clean: int) -> dict[str, float]:
    """Return the balanced accuracy with Newcombe's (1998) hybrid interval, which treats the rates as independent."""
    if 0 in (adversarial, clean):
        return bounded("balanced_accuracy", math.nan, 0, 1)
    rates = detected / adversarial, 1 - false / clean
    intervals = wilson(detected, adversarial), wilson(clean - false, clean)
    below = math.hypot(*(rate - low for rate, (low, _) in zip(rates, intervals, strict=True)))
    above = math.hypot(*(high - rate for rate, (_, high) in zip(rates, intervals, strict=True)))
    value = sum(rates) / 2
    return bounded("balanced_accuracy", value, value - below / 2, value + above / 2)
