"""Otsu's threshold and thresholds at a false positive rate: an image is flagged when its score lies below."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import s_max
from featurepaths.paths.records import FeaturePaths
from featurepaths.store.jsonfile import read_json

GREATEST_SCORE = 1e140
"""Bound on scores, because their sums are squared."""


def calibrate(
    clean: np.ndarray, adversarial: np.ndarray | None = None, rates: Iterable[Fraction] = ()
) -> dict[str, float]:
    """Return thresholds by the method that sets them: ``otsu``, and for every rate, such as 5/100, ``fpr-5``.

    Parameters
    ----------
    clean, adversarial
        Scores of clean images and of adversarial examples; Otsu's threshold needs both.
    rates
        False positive rates, in [0, 1).
    """
    thresholds = {} if adversarial is None else {"otsu": otsu(np.concatenate([clean, adversarial]))}
    return thresholds | {rate_name(rate): at_false_positive_rate(clean, rate) for rate in rates}


def otsu(scores: np.ndarray) -> float:
    """Return the threshold that maximises the variance between the scores below and above it.

    It is exact over all cuts between distinct scores, not over a histogram's bins, and lies in the middle of the gap.
    The first of several equal maxima counts. Source: Otsu, IEEE SMC 1979, applied as in the paper's section 2.2.

    Parameters
    ----------
    scores
        Scores [N] of clean and adversarial images together.

    Raises
    ------
    FeaturePathsError
        If there are fewer than two distinct scores, or one that is not finite or too large to be squared.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if not (np.abs(ordered) < GREATEST_SCORE).all():
        raise FeaturePathsError(f"Otsu's threshold needs finite scores, below {GREATEST_SCORE:g}.")
    cuts = np.flatnonzero(np.diff(ordered)) + 1  # number of scores below each cut
    if len(cuts) == 0:
        raise FeaturePathsError(
            "Otsu's threshold needs at least two different scores: all these images have the same score."
        )
    count = len(ordered)
    sums = np.cumsum(ordered - ordered.mean())
    # with the overall mean at 0, w0 w1 (mean0 - mean1)^2 is sum0^2 / (n0 n1)
    between = sums[cuts - 1] ** 2 / (cuts * (count - cuts))
    best = cuts[np.argmax(between)]
    middle = (ordered[best - 1] + ordered[best]) / 2
    # between adjacent floats there is no middle, and scores that equal the threshold are not below it
    return float(middle if middle > ordered[best - 1] else ordered[best])


def at_false_positive_rate(clean_scores: np.ndarray, rate: Fraction) -> float:
    """Return the highest threshold that flags at most the share `rate` of clean scores [N]; exact, as `rate` is.

    Raises
    ------
    FeaturePathsError
        If there is no score, or one that is not finite.
    """
    ordered = np.sort(np.asarray(clean_scores, dtype=np.float64))
    if len(ordered) == 0 or not np.isfinite(ordered).all():
        raise FeaturePathsError("A threshold at a false positive rate needs finite scores of clean images.")
    # flagged means strictly below, so the score at position k leaves at most k images flagged
    return float(ordered[min(floor(rate * len(ordered)), len(ordered) - 1)])


def rate_name(rate: Fraction) -> str:
    """Return the name of the threshold for a false positive rate: ``fpr-5`` for 5/100."""
    return f"fpr-{float(100 * rate):.12g}"


def thresholds_in(group: h5py.Group) -> dict[str, float]:
    """Return a detector's thresholds by the method that set them, from its group of the detectors' artefact."""
    return dict(zip(group.attrs["threshold_methods"].tolist(), group.attrs["thresholds"].tolist(), strict=True))


@dataclass(frozen=True)
class FeaturePathDetector:
    """The paper's calibrated detector: layers (from 1), their weights, and thresholds by the method that set them."""

    protocol: str
    layers: list[int]
    weights: np.ndarray
    thresholds: dict[str, float]

    def score(self, paths: FeaturePaths) -> np.ndarray:
        """Return S_max, eq. (5), of each image, float64 [N], low when adversarial."""
        return paths.map_rows(lambda similarity: s_max(similarity, self.layers, self.weights))


def read_feature_path_detector(path: Path) -> FeaturePathDetector:
    """Read the artefact of a calibrated detector."""
    record = read_json(path)
    return FeaturePathDetector(record["protocol"], record["layers"], np.array(record["weights"]), record["thresholds"])
