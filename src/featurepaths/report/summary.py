"""The summary over seeds: attack seeds within training seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from featurepaths.statistics.metrics import CONFIDENCE

RECOGNITION = ["clean_accuracy", "adversarial_accuracy", "flagged_accuracy"]
RANKING = ["auroc", "tpr_at_fpr_1", "tpr_at_fpr_5"]
AT_THRESHOLD = ["detection_rate", "false_positive_rate", "balanced_accuracy"]
KEYS = ["metric", "model", "training", "method", "detector", "pooling", "attack", "stopping_rule", "threat", "protocol",
        "threshold_method"]  # fmt: skip


def summary_table(recognition: pd.DataFrame, detection: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return mean and spread over seeds of what the recognition and the detection table show: see `over_seeds`.

    `recognition` and `detection` are the tables of `featurepaths.report.tables`.
    """
    ranked = detection.assign(threshold_method=None)
    return over_seeds([(recognition, RECOGNITION), (ranked, RANKING), (detection, AT_THRESHOLD)], groups)


def adaptive_summary_table(
    comparison: pd.DataFrame, evasion: pd.DataFrame, detectors: pd.DataFrame, groups: Mapping[str, str]
) -> pd.DataFrame:
    """Return the same of what attackers who know the defence left: the tables of `featurepaths.report.comparison`."""
    ranked = detectors.assign(threshold_method=None)
    shown = [(comparison, RECOGNITION[:2]), (evasion, ["evasion_rate"]), (ranked, RANKING)]
    return over_seeds(shown, groups)


def over_seeds(tables: Sequence[tuple[pd.DataFrame, Sequence[str]]], groups: Mapping[str, str]) -> pd.DataFrame:
    """Return mean and spread over seeds of some columns of tables, one row a metric.

    Attacks of one group are repetitions that differ in their seed only. They are averaged first, within each training
    seed, because they share its network: `sd` (with n - 1) and the interval are over training seeds.

    `interval` says what the interval speaks of: ``training seeds`` (Student's t, where there are several), or
    ``images`` (that of the only run, where there is one seed of each kind). Several attacks on one network say nothing
    about another network, and their images are the same: there is ``none`` then.

    Parameters
    ----------
    tables
        Tables with one row for each training seed and attack, and their columns that are metrics.
    groups
        By attack, the attack that its group is called after; others are their own.
    """
    measured = pd.concat(_one_row_a_metric(table, metric, groups) for table, metrics in tables for metric in metrics)
    rows = [
        {**dict(zip(KEYS, key, strict=True)), **_over_seeds(runs.dropna(subset="value"))}
        for key, runs in measured.groupby(KEYS, sort=False)
    ]
    return pd.DataFrame(rows).replace("", None)


def _one_row_a_metric(table: pd.DataFrame, metric: str, groups: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of a table with `metric` as their `value`, `low` and `high`; keys that it lacks are ''."""
    named = table.assign(
        metric=metric, repetition=table["attack"], attack=table["attack"].map(lambda attack: groups.get(attack, attack))
    )
    bounded = {metric: "value", f"{metric}_low": "low", f"{metric}_high": "high"}
    found = named.reindex(columns=[*KEYS, "seed", "repetition", *bounded]).rename(columns=bounded)
    found[KEYS] = found[KEYS].astype(object).where(found[KEYS].notna(), "")
    return found.drop_duplicates()  # what does not depend on the threshold stands beside each of them


def _over_seeds(runs: pd.DataFrame) -> dict[str, Any]:
    """Return the summary of the values of one metric, by `seed` of the training and `repetition` of the attack."""
    of_training = runs.groupby("seed")["value"].mean()
    n_training, n_attack = len(of_training), runs["repetition"].nunique()
    mean, sd, interval, low, high = of_training.mean(), of_training.std(ddof=1), "none", math.nan, math.nan
    if n_training > 1:
        interval, (low, high) = "training seeds", student_t(mean, sd, n_training)
    elif len(runs) == 1:
        interval, low, high = "images", runs["low"].item(), runs["high"].item()
    return {
        "mean": mean,
        "mean_low": low,
        "mean_high": high,
        "sd": sd,
        "interval": interval,
        "n_training_seeds": n_training,
        "n_attack_seeds": n_attack,
    }


def student_t(mean: float, sd: float, count: int) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of `count` rates with standard deviation `sd`, cut to [0, 1]."""
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sd / math.sqrt(count)
    return max(mean - half, 0.0), min(mean + half, 1.0)
