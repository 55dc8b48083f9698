"""Table of means over seeds: attack seeds are averaged within training seeds."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from featurepaths.report.tables.table import bounded, columns_of, interval_columns
from featurepaths.statistics.metrics import CONFIDENCE

ACCURACIES = ["clean_accuracy", "adversarial_accuracy", "flagged_accuracy"]
RANKING = ["auroc", "tpr_at_fpr_1", "tpr_at_fpr_5"]
AT_THRESHOLD = ["detection_rate", "false_positive_rate", "balanced_accuracy"]
METRICS = {
    "summary": {"recognition": ACCURACIES, "detection": RANKING + AT_THRESHOLD},
    "adaptive_summary": {"comparison": ACCURACIES[:2], "evasion": ["evasion_rate"], "detectors": RANKING},
}
"""The columns that a summary summarises, by their table."""
KEYS = columns_of("summary")[: columns_of("summary").index("mean")]


def summary_table(name: str, tables: Mapping[str, pd.DataFrame], groups: Mapping[str, str]) -> pd.DataFrame:
    """Return mean and spread over seeds of `METRICS`, one row per metric.

    The attacks of one group differ only in their seed. They are averaged first, within each training seed, because they
    share its network: `sd` (with n - 1) and the interval are over training seeds.

    `interval` states what the interval covers: ``training seeds`` (Student's t, with several training seeds),
    ``images`` (the interval of the only run, with one seed of each kind) or ``none`` (several attacks on one network,
    which share their images and carry no information about other networks).

    Parameters
    ----------
    name
        A summary of `METRICS`.
    tables
        Tables with one row per training seed and attack, by name.
    groups
        The name of the group of each attack; any other attack is its own group.
    """
    pairs = [(tables[table], metric) for table, metrics in METRICS[name].items() for metric in metrics]
    measured = pd.concat(_one_row_per_metric(table, metric, groups) for table, metric in pairs)
    rows = [
        {**dict(zip(KEYS, key, strict=True)), **_over_seeds(runs.dropna(subset="value"))}
        for key, runs in measured.groupby(KEYS, sort=False)
    ]
    return pd.DataFrame(rows).replace("", None)


def _one_row_per_metric(table: pd.DataFrame, metric: str, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of a table with `metric` as their `value`, `low` and `high`; missing keys are ''."""
    if metric in RANKING:
        table = table.assign(threshold_method=None)  # it is repeated for each threshold, and does not depend on it
    named = table.assign(metric=metric, repetition=table["attack"], attack=table["attack"].replace(groups))
    bounds = dict(zip(interval_columns(metric), ("value", "low", "high"), strict=True))
    rows = named.reindex(columns=[*KEYS, "seed", "repetition", *bounds]).rename(columns=bounds)
    rows[KEYS] = rows[KEYS].astype(object).where(rows[KEYS].notna(), "")
    return rows.drop_duplicates()


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
