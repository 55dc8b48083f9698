import numpy as np
import pytest
from scipy.stats import binomtest

from featurepaths.networks.chance import LEVEL, chance, chance_in


@pytest.mark.parametrize(("n", "most_frequent"), [(500, 50), (500, 400), (40, 5), (10000, 1000), (1000, 3)])
def test_chance_agrees_with_scipys_exact_test(n, most_frequent):
    warned = [correct for correct in range(0, n + 1, max(1, n // 200)) if chance(correct, n, most_frequent)]
    tests = {k: binomtest(k, n, most_frequent / n, "greater") for k in range(0, n + 1, max(1, n // 200))}
    assert warned == [k for k, test in tests.items() if test.pvalue >= LEVEL]
    assert warned


def test_chance_names_the_numbers():
    text = chance(50, 500, 60)
    assert "10.0 % of 500 clean images: chance" in text
    assert "12.0 %" in text
    assert "level 5 %" in text


@pytest.mark.parametrize(("n", "most_frequent"), [(1, 1), (4, 2), (500, 500), (20, 19)])
def test_images_that_no_network_could_pass_are_no_chance(n, most_frequent):
    assert chance(0, n, most_frequent) == ""


def test_chance_in_counts_images_and_classes():
    labels = np.arange(100) % 10
    assert chance_in(np.arange(100) < 10, labels) == chance(10, 100, 10) != ""
    assert chance_in(np.arange(100) < 60, labels) == ""
