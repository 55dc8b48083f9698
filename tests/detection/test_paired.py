import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurepaths.detection.paired import mcnemar


def test_by_hand():
    first = np.array([True] * 5 + [False] + [True] * 3 + [False] * 2)
    second = np.array([False] * 5 + [True] + [True] * 3 + [False] * 2)
    # 6 differ, 5 to 1: two-sided 2 (6 + 1) / 2^6
    assert mcnemar(first, second) == {"first_only": 5, "second_only": 1, "p_value": pytest.approx(14 / 64)}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_order_changes_the_side_and_not_the_p_value(pairs):
    first, second = np.array(pairs).T
    one, other = mcnemar(first, second), mcnemar(second, first)
    assert (one["first_only"], one["second_only"]) == (other["second_only"], other["first_only"])
    assert one["p_value"] == pytest.approx(other["p_value"])
    assert mcnemar(first, first)["p_value"] == 1
