"""Measures of scores."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from featurepaths.statistics.groups import Groups
from featurepaths.statistics.metrics import measure

THRESHOLDS = {"otsu": 0.5, "fpr-5": 0.2}


def test_flags_are_counted_by_group():
    clean = np.array([0.9, 0.8, 0.4, 0.7, 0.6])
    adversarial = np.array([0.1, 0.6, 0.3, 0.4, 0.1])
    groups = Groups(np.array([True, True, False, False, False]), np.array([False, False, True, True, False]))
    measures = measure(clean, adversarial, groups, THRESHOLDS)
    assert measures["at_threshold"]["otsu"] == {
        "threshold": 0.5, "flagged_clean": 1, "flagged_adversarial": 4, "flagged_successful": 1,
        "flagged_unsuccessful": 2,
    }  # fmt: skip
    assert measures["at_threshold"]["fpr-5"] == {
        "threshold": 0.2, "flagged_clean": 0, "flagged_adversarial": 2, "flagged_successful": 1,
        "flagged_unsuccessful": 0,
    }  # fmt: skip
    assert measures["successful"]["auroc"] == 1, "0.1 and 0.6 lie below 0.9 and 0.8"
    assert measures["ranking"]["auroc"] == pytest.approx(23 / 25)


def test_the_successful_auroc_is_that_of_the_same_images_drawn_together():
    generator = np.random.default_rng(0)
    clean = generator.normal(1, 1, 200)
    adversarial = clean - generator.normal(1, 1, 200)
    successful = generator.random(200) < 0.4
    measures = measure(clean, adversarial, Groups(successful, ~successful), THRESHOLDS)["successful"]
    clean, adversarial = clean[successful], adversarial[successful]
    count = len(clean)
    truth = np.repeat([0, 1], count)
    assert measures["auroc"] == pytest.approx(roc_auc_score(truth, -np.concatenate([clean, adversarial])))
    drawn = [generator.integers(0, count, count) for _ in range(1000)]
    values = [roc_auc_score(truth, -np.concatenate([clean[rows], adversarial[rows]])) for rows in drawn]
    np.testing.assert_allclose(measures["interval"], np.quantile(values, [0.025, 0.975]), atol=0.015)


def test_without_a_successful_image_there_is_no_successful_auroc():
    none = np.zeros(3, bool)
    measures = measure(np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.2, 0.8]), Groups(none, ~none), THRESHOLDS)
    assert measures["successful"] == {"auroc": None, "interval": None}
    assert measures["at_threshold"]["otsu"]["flagged_successful"] == 0
    json.dumps(measures, allow_nan=False)
