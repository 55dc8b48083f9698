"""The passes of an image in adaptive attacks and controls, against counts by hand."""

import pytest

from featurepaths.experiment.config.evaluation import AdaptiveSearch, Controls
from featurepaths.experiment.passes import passes_of_adaptive, passes_of_controls

SEARCH = AdaptiveSearch(objectives=["misvote", "evade"], n_targets=2, restarts=2, iterations=4)


@pytest.mark.parametrize(
    ("changes", "classes", "resisting", "searches"),
    [
        ({}, 10, 1, 3 * 2 * 2 + 3 * 2 + 1),  # untargeted, towards two classes, and for evasion
        ({}, 10, 0.5, 19 / 2),
        ({}, 10, 0, 0),
        ({"skip_defeated": False}, 10, 0.5, 6 + 12 / 2),  # the first start of all six to its end
        ({}, 2, 1, 3 * 2 + 3 + 1),  # without dlr, and with one wrong class
    ],
)
def test_adaptive_passes_are_those_of_detectors_and_searches(changes, classes, resisting, searches):
    search = SEARCH.model_copy(update=changes)
    assert passes_of_adaptive(search, 3, classes, resisting) == pytest.approx((3 + searches) * 6)


@pytest.mark.parametrize(
    ("resisting", "budgets", "balls"),
    [
        (1, 10 * (2 + 2 + 20 + 3), 3 * 2 + 6 * 2 + 6 * 2),
        (0.5, 10 * 27 / 2, 3 * 1.5 + 6 * 1.5 + 6 * 2 / 4),
        (0, 0, 3 + 6),
    ],
)
def test_controls_passes_are_those_of_budgets_balls_and_queries(resisting, budgets, balls):
    """The greatest budget has all 6 objectives and 2 losses, from two starts, and 3 objectives towards a class."""
    search = AdaptiveSearch(objectives=["evade"], losses=["ce"], n_targets=0, iterations=4)
    controls = Controls(iterations=[4, 8], restarts=1, n_targets=1, eps_multiples=[0, 0.5, 1, 2], n_queries=10)
    assert passes_of_controls(search, controls, 10, resisting) == pytest.approx(budgets + balls + 10 / 2)
