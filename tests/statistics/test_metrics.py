import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from featurepaths.paths.equations import s_max
from featurepaths.statistics import metrics
from featurepaths.statistics.metrics import (
    RANKING_METRICS,
    bootstrap_intervals,
    ranking_metrics,
    roc_curve,
    weighted_ranking_metrics,
    wilson,
)


def scores(seed=0, count=60, rounded=1):
    """Scores of clean images and lower ones of their adversarial examples, with many ties."""
    generator = np.random.default_rng(seed)
    clean = generator.normal(1, 1, count)
    return np.round(clean, rounded), np.round(clean - generator.normal(1, 1, count), rounded)


def test_equation_5_by_hand():
    similarity = np.array([[[0.5, 0.1], [0.9, 0.3]], [[0.2, 0.3], [0.4, 0.7]]])
    np.testing.assert_allclose(s_max(similarity, [1, 2], np.array([0.5, 0.5])), [0.7, 0.5])


def test_auroc_is_the_share_of_pairs_in_order():
    clean, adversarial = scores()
    pairs = (adversarial[:, None] < clean[None]) + 0.5 * (adversarial[:, None] == clean[None])
    assert ranking_metrics(clean, adversarial)["auroc"] == pytest.approx(pairs.mean())


@pytest.mark.parametrize("rate", [1, 5])
def test_tpr_at_fpr_is_the_best_allowed_threshold(rate):
    clean, adversarial = scores(count=200)
    thresholds = np.append(np.unique(clean), np.inf)
    allowed = [t for t in thresholds if (clean < t).mean() <= rate / 100]
    best = max((adversarial < t).mean() for t in [*allowed, *(np.nextafter(t, np.inf) for t in adversarial
               if (clean < np.nextafter(t, np.inf)).mean() <= rate / 100)])  # fmt: skip
    assert ranking_metrics(clean, adversarial)[f"tpr_at_fpr_{rate}"] == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_metrics_are_scikit_learns(seed):
    clean, adversarial = scores(seed)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(60, np.full(60, 1 / 60), size=4)
    result = weighted_ranking_metrics(clean, adversarial, weights)
    truth, suspicion = np.repeat([0, 1], 60), -np.concatenate([clean, adversarial])
    for row, weight in enumerate(weights):
        doubled = np.concatenate([weight, weight])
        assert result["auroc"][row] == pytest.approx(roc_auc_score(truth, suspicion, sample_weight=doubled))
        assert result["aupr"][row] == pytest.approx(average_precision_score(truth, suspicion, sample_weight=doubled))
    unweighted = weighted_ranking_metrics(clean, adversarial, np.ones((1, 60), int))
    plain = ranking_metrics(clean, adversarial)
    for metric in RANKING_METRICS:
        assert unweighted[metric][0] == pytest.approx(plain[metric]), metric


def test_intervals_are_those_of_resampled_images():
    """Against drawing the images and asking scikit-learn, within the noise of 1,000 draws."""
    clean, adversarial = scores(count=80)
    result = bootstrap_intervals(clean, adversarial, {"otsu": 0.5})
    generator = np.random.default_rng(99)
    truth, values, balanced = np.repeat([0, 1], 80), [], []
    for _ in range(1000):
        rows = generator.integers(0, 80, 80)
        values.append(roc_auc_score(truth, -np.concatenate([clean[rows], adversarial[rows]])))
        balanced.append(((adversarial[rows] < 0.5).mean() + (clean[rows] >= 0.5).mean()) / 2)
    np.testing.assert_allclose(result["auroc"], np.quantile(values, [0.025, 0.975]), atol=0.012)
    np.testing.assert_allclose(result["balanced_accuracy.otsu"], np.quantile(balanced, [0.025, 0.975]), atol=0.02)
    assert result == bootstrap_intervals(clean, adversarial, {"otsu": 0.5}), "the same every time"


def test_a_perfect_score_is_perfect_with_certainty():
    clean, adversarial = np.linspace(1, 2, 30), np.linspace(-1, 0, 30)
    measured, intervals = ranking_metrics(clean, adversarial), bootstrap_intervals(clean, adversarial, {"t": 0.5})
    for metric in RANKING_METRICS:
        assert measured[metric] == 1
        assert intervals[metric] == (1, 1)
    assert intervals["balanced_accuracy.t"] == (1, 1)


def test_roc_curve_runs_from_corner_to_corner():
    false_rate, true_rate = roc_curve(*scores())
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)


def test_wilson_by_its_formula():
    z, n, p = 1.959963984540054, 360, 47 / 360
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    assert wilson(47, 360) == pytest.approx(expected)
    assert wilson(0, 0) == (0, 1)


def test_resamples_are_the_same_however_many_are_drawn_at_a_time(monkeypatch):
    clean, adversarial = scores(count=80)
    whole = metrics.bootstrap_intervals(clean, adversarial, {"otsu": 0.5})
    monkeypatch.setattr(metrics, "DRAWN_AT_A_TIME", 80 * 7)
    assert metrics.bootstrap_intervals(clean, adversarial, {"otsu": 0.5}) == whole
