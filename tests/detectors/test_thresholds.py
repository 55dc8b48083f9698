from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from featurepaths.detectors.thresholds import at_false_positive_rate, calibrate, otsu
from featurepaths.errors import FeaturePathsError

SCORES = arrays(np.float64, st.integers(2, 40), elements=st.integers(-50, 50).map(lambda value: value / 50))


def between_class_variance(scores, threshold):
    below, above = scores[scores < threshold], scores[scores >= threshold]
    return len(below) * len(above) / len(scores) ** 2 * (below.mean() - above.mean()) ** 2


@given(SCORES)
def test_otsu_maximises_variance_over_all_cuts(scores):
    assume(len(np.unique(scores)) > 1)
    distinct = np.unique(scores)
    cuts = (distinct[:-1] + distinct[1:]) / 2
    best = max(between_class_variance(scores, split_rows) for split_rows in cuts)
    threshold = otsu(scores)
    assert between_class_variance(scores, threshold) == pytest.approx(best, rel=1e-9, abs=1e-15)
    assert np.abs(cuts - threshold).min() < 1e-12, "in the middle of a gap"


def test_otsu_of_five_scores_equals_hand_computed_value():
    assert otsu(np.array([0.0, 0.1, 0.2, 0.8, 1.0])) == pytest.approx(0.5)


def test_otsu_with_large_offset_shifts_alike():
    scores = np.array([0.0, 0.1, 0.2, 0.8, 1.0])
    assert otsu(scores + 1e6) == pytest.approx(1e6 + 0.5, abs=1e-6)


@pytest.mark.parametrize("scores", [np.full(5, 0.3), np.array([0.3]), np.array([])])
def test_otsu_of_equal_scores_raises(scores):
    with pytest.raises(FeaturePathsError, match="two different scores"):
        otsu(scores)


def test_otsu_of_nan_raises():
    with pytest.raises(FeaturePathsError, match="finite"):
        otsu(np.array([0.1, np.nan, 0.3]))


def test_false_positive_rate_is_not_rounded_down():
    # 0.29 * 100 is 28.999... in floating point
    assert at_false_positive_rate(np.arange(100.0), Fraction(29, 100)) == 29


@given(SCORES, st.fractions(0, 1).filter(lambda rate: rate < 1))
def test_false_positive_rate_threshold_is_the_highest_allowed(scores, rate):
    threshold = at_false_positive_rate(scores, rate)
    assert int((scores < threshold).sum()) <= rate * len(scores)  # in integers: the mean would be rounded
    higher = np.unique(scores)
    higher = higher[higher > threshold]
    if len(higher):
        assert (scores < np.nextafter(threshold, np.inf)).mean() > rate


@pytest.mark.parametrize("lower", [1.0, -1.0, 0.0, 1e100, 1 - 2**-53])
def test_otsu_separates_adjacent_floats(lower):
    """Such as confidences beside 1: there is no number in the middle."""
    upper = np.nextafter(lower, np.inf)
    scores = np.array([lower, upper, lower, upper])
    assert (scores < otsu(scores)).tolist() == [True, False, True, False]


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [np.inf, 1.0], [-np.inf, 1.0]])
def test_thresholds_of_scores_that_are_not_finite_raise(scores):
    with pytest.raises(FeaturePathsError, match="finite scores"):
        at_false_positive_rate(np.array(scores), Fraction(1, 2))
    for large in (scores, [0.0, 1e160, 2e160]):  # the square of such a score is infinite
        with pytest.raises(FeaturePathsError, match=r"finite scores|two different"):
            otsu(np.array(large))


def test_calibrate_names_every_threshold_by_its_method():
    clean, adversarial = np.linspace(1, 2, 40), np.linspace(0, 1.5, 40)
    rates = [Fraction(5, 100), Fraction(1, 1000)]
    thresholds = calibrate(clean, adversarial, rates)
    assert thresholds == {
        "otsu": otsu(np.concatenate([clean, adversarial])),
        "fpr-5": at_false_positive_rate(clean, rates[0]),
        "fpr-0.1": at_false_positive_rate(clean, rates[1]),
    }
    assert calibrate(clean, rates=rates[:1]) == {"fpr-5": thresholds["fpr-5"]}, "Otsu's needs adversarial scores"
