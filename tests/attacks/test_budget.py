from fractions import Fraction

import pytest

from featurepaths.attacks.budget import budget


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (("linf", Fraction(8, 255)), "L∞, eps 8/255"),
        (("linf", 8 / 255), "L∞, eps 8/255"),
        (("linf", Fraction(1, 51)), "L∞, eps 5/255"),
        (("linf", Fraction(3, 20)), "L∞, eps 0.15"),
        (("linf", 0.2), "L∞, eps 0.2"),
        (("linf", 1), "L∞, eps 1"),
        (("linf", Fraction(1, 1000)), "L∞, eps 0.001"),
        (("linf", Fraction(8, 255), "normalized"), "L∞, eps 8/255 in normalised units"),
        (("l2", Fraction(1, 2)), "L2, eps 0.5"),
        (("l2", Fraction(8, 255)), "L2, eps 0.03137"),
        (("l1", 12), "L1, eps 12"),
        (("l0", 1), "L0, eps 1 pixel"),
        (("l0", 12_345), "L0, eps 12345 pixels"),
        (("l2", None), "L2, unbounded"),
    ],
)
def test_budget_is_norm_and_radius_as_users_write_them(attack, text):
    assert budget(*attack) == text
