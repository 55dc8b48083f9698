"""Table of means over seeds: attack seeds are averaged within training seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from featurepaths.report.tables.table import bounded, interval_columns
from featurepaths.statistics.metrics import CONFIDENCE

RECOGNITION = ["clean_accuracy", "adversarial_accuracy", "flagged_accuracy"]
RANKING = ["auroc", "tpr_at_fpr_1", "tpr_at_fpr_5"]
AT_THRESHOLD = ["detection_rate", "false_positive_rate", "balanced_accuracy"]
KEYS = ["metric", "model", "training", "method", "detector", "pooling", "attack", "stopping_rule", "threat", "protocol",
        "threshold_method"]  # fmt: skip


def summary_table(recognition: pd.DataFrame, detection: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return mean and spread over seeds of the metrics in the recognition and detection tables; see `over_seeds`."""
    ranked = detection.assign(threshold_method=None)
    return over_seeds([(recognition, RECOGNITION), (ranked, RANKING), (detection, AT_THRESHOLD)], groups)


def adaptive_summary_table(
    comparison: pd.DataFrame, evasion: pd.DataFrame, detectors: pd.DataFrame, groups: Mapping[str, str]
) -> pd.DataFrame:
    """Return mean and spread over seeds of the metrics in the tables of the adaptive evaluation; see `over_seeds`."""
    ranked = detectors.assign(threshold_method=None)
    return over_seeds([(comparison, RECOGNITION[:2]), (evasion, ["evasion_rate"]), (ranked, RANKING)], groups)


def over_seeds(tables: Sequence[tuple[pd.DataFrame, Sequence[str]]], groups: Mapping[str, str]) -> pd.DataFrame:
    """Return mean and spread over seeds of metrics in tables, one row per metric.

    The attacks of one group differ only in their seed. They are averaged first, within each training seed, because they
    share its network: `sd` (with n - 1) and the interval are over training seeds.

    `interval` states what the interval covers: ``training seeds`` (Student's t, with several training seeds),
    ``images`` (the interval of the only run, with one seed of each kind) or ``none`` (several attacks on one network,
    which share their images and carry no information about other networks).

    Parameters
    ----------
    tables
        Tables with one row per training seed and attack, and their columns that are metrics.
    groups
        The name of the group of each attack; any other attack is its own group.
    """
    measured = pd.concat(_one_row_per_metric(table, metric, groups) for table, metrics in tables for metric in metrics)
    rows = [
        {**dict(zip(KEYS, key, strict=True)), **_over_seeds(runs.dropna(subset="value"))}
        for key, runs in measured.groupby(KEYS, sort=False)
    ]
    return pd.DataFrame(rows).replace("", None)


def _one_row_per_metric(table: pd.DataFrame, metric: str, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of a table with `metric` as their `value`, `low` and `high`; missing keys are ''."""
    named = table.assign(metric=metric, repetition=table["attack"], attack=table["attack"].replace(groups))
    bounds = dict(zip(interval_columns(metric), ("value", "low", "high"), strict=True))
    rows = named.reindex(columns=[*KEYS, "seed", "repetition", *bounds]).rename(columns=bounds)
    rows[KEYS] = rows[KEYS].astype(object).where(rows[KEYS].notna(), "")
    return rows.drop_duplicates()  # metrics that do not depend on the threshold are repeated for each


def _over_seeds(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the summary of the values of one metric, by `seed` of the training and `repetition` of the attack."""
    of_training = runs.groupby("seed")["value"].mean()
    n_training, n_attack = len(of_training), runs["repetition"].nunique()
    mean, sd, interval, bounds = of_training.mean(), of_training.std(ddof=1), "none", (math.nan, math.nan)
    if n_training > 1:
        interval, bounds = "training seeds", student_t(mean, sd, n_training)
    elif len(runs) == 1:
        interval, bounds = "images", (runs["low"].item(), runs["high"].item())
    spread = {"sd": sd, "interval": interval, "n_training_seeds": n_training, "n_attack_seeds": n_attack}
    return bounded("mean", mean, *bounds) | spread


def student_t(mean: float, sd: float, count: int) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of `count` rates with standard deviation `sd`, clipped to [0, 1]."""
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / math.sqrt(count)
    return max(mean - half, 0.0), min(mean + half, 1.0)
