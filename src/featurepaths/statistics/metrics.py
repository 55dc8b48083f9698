"""Metrics of detection scores, with intervals.

Adversarial is the positive class. Scores are low for adversarial images, so metrics rank by the negated score.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from featurepaths.statistics.groups import Groups

RESAMPLES = 1000
DRAWN_AT_A_TIME = 500_000
"""Number of drawn images in memory at a time: a thousand draws of 10,000 images would be gigabytes."""
CONFIDENCE = 0.95
RANKING_METRICS = ("auroc", "aupr", "tpr_at_fpr_1", "tpr_at_fpr_5")


def measure(
    clean: np.ndarray, adversarial: np.ndarray, groups: Groups, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    """Return all metrics of a detector's scores of clean images and their adversarial examples.

    Parameters
    ----------
    clean, adversarial
        Scores [N], row for row.
    groups
        Images on which the attack succeeded and failed.
    thresholds
        By the method that set them; images with lower scores are flagged.

    Returns
    -------
    ``ranking`` and ``intervals``: see `ranking_metrics` and `bootstrap_intervals`; ``successful``: see
    `successful_auroc`; and ``at_threshold``, by method: the threshold, and the number of flagged images of each kind.
    """
    kinds = {
        "flagged_clean": clean,
        "flagged_adversarial": adversarial,
        "flagged_successful": adversarial[groups.successful],
        "flagged_unsuccessful": adversarial[groups.unsuccessful],
    }
    return {
        "ranking": ranking_metrics(clean, adversarial),
        "intervals": bootstrap_intervals(clean, adversarial, thresholds),
        "successful": successful_auroc(clean[groups.successful], adversarial[groups.successful]),
        "at_threshold": {
            method: {"threshold": threshold} | {kind: int((its < threshold).sum()) for kind, its in kinds.items()}
            for method, threshold in thresholds.items()
        },
    }


def successful_auroc(clean: np.ndarray, adversarial: np.ndarray) -> dict[str, Any]:
    """Return the AUROC of successful adversarial examples and their clean images, with its interval.

    Both are None if there is no such image.
    """
    if len(clean) == 0:
        return {"auroc": None, "interval": None}
    interval = bootstrap_intervals(clean, adversarial, {})["auroc"]
    return {"auroc": ranking_metrics(clean, adversarial)["auroc"], "interval": interval}


def ranking_metrics(clean: np.ndarray, adversarial: np.ndarray) -> dict[str, float]:
    """Return AUROC, average precision, and the true positive rates at 1 % and 5 % false positives, by scikit-learn."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    positive, suspicion = _labelled(clean, adversarial)
    false_rate, true_rate = roc_curve(clean, adversarial)
    return {
        "auroc": float(roc_auc_score(positive, suspicion)),
        "aupr": float(average_precision_score(positive, suspicion)),
        "tpr_at_fpr_1": float(true_rate[false_rate <= 0.01].max()),
        "tpr_at_fpr_5": float(true_rate[false_rate <= 0.05].max()),
    }


def roc_curve(clean: np.ndarray, adversarial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the false and true positive rates at every threshold, by scikit-learn."""
    from sklearn.metrics import roc_curve as curve

    positive, suspicion = _labelled(clean, adversarial)
    false_rate, true_rate, _ = curve(positive, suspicion, drop_intermediate=False)
    return false_rate, true_rate


def bootstrap_intervals(
    clean: np.ndarray, adversarial: np.ndarray, thresholds: Mapping[str, float], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Return 95 % percentile intervals of the ranking metrics and of the balanced accuracy at each threshold.

    Images are drawn with replacement, 1,000 times; a clean image and its adversarial example, in the same row, are
    drawn together, because their scores are not independent.

    Parameters
    ----------
    clean, adversarial
        Scores [N] of the same images.
    thresholds
        Thresholds by name; their intervals are returned as ``balanced_accuracy.<name>``.
    """
    generator = np.random.default_rng(seed)
    count = len(clean)
    samples: list[dict[str, np.ndarray]] = []
    at_a_time = max(1, DRAWN_AT_A_TIME // count)  # the drawn images do not depend on it
    for start in range(0, RESAMPLES, at_a_time):
        size = min(at_a_time, RESAMPLES - start)
        draws = generator.multinomial(count, np.full(count, 1 / count), size=size)
        sample = weighted_ranking_metrics(clean, adversarial, draws)
        for name, threshold in thresholds.items():
            correct = (adversarial < threshold).astype(float) + (clean >= threshold)
            sample[f"balanced_accuracy.{name}"] = draws @ correct / (2 * count)
        samples.append(sample)
    tails = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    joined = {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
    return {name: tuple(np.quantile(values, tails).tolist()) for name, values in joined.items()}


def weighted_ranking_metrics(clean: np.ndarray, adversarial: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return the ranking metrics of many weightings of the images at once.

    The metrics of `ranking_metrics` for integer weights [B, N] of the images. Calling scikit-learn for each of the
    thousand resamples of every table row would take minutes.

    Returns
    -------
    Each metric of `RANKING_METRICS`, [B].
    """
    positive, suspicion = _labelled(clean, adversarial)
    order = np.argsort(-suspicion, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(suspicion[order])), len(order) - 1)  # last of each run of equal scores
    doubled = np.concatenate([weights, weights], axis=1)[:, order].astype(np.float64)
    is_positive = positive[order] == 1
    true_count = np.cumsum(doubled * is_positive, axis=1)[:, ends]
    false_count = np.cumsum(doubled * ~is_positive, axis=1)[:, ends]
    true_rate, false_rate = true_count / true_count[:, -1:], false_count / false_count[:, -1:]
    before_true = np.pad(true_rate[:, :-1], [(0, 0), (1, 0)])
    before_false = np.pad(false_rate[:, :-1], [(0, 0), (1, 0)])
    precision = true_count / np.maximum(true_count + false_count, 1)
    return {
        "auroc": ((false_rate - before_false) * (true_rate + before_true) / 2).sum(axis=1),
        "aupr": ((true_rate - before_true) * precision).sum(axis=1),
        "tpr_at_fpr_1": np.where(false_rate <= 0.01, true_rate, 0).max(axis=1),
        "tpr_at_fpr_5": np.where(false_rate <= 0.05, true_rate, 0).max(axis=1),
    }


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a rate, by SciPy; (0, 1) if `count` is 0."""
    from scipy.stats import binomtest

    if count == 0:
        return 0.0, 1.0
    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _labelled(clean: np.ndarray, adversarial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positive = np.repeat([0, 1], [len(clean), len(adversarial)])
    return positive, -np.concatenate([clean, adversarial])
