"""Paired comparison of two methods on the same images (McNemar, Psychometrika 1947)."""

import numpy as np


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> dict[str, int | float]:
    """Return McNemar's exact test of two methods on the same images, by SciPy.

    Images on which both are correct, or both wrong, carry no information. If the methods are equally good, on each of
    the other images either is the correct one with probability 1/2.

    Parameters
    ----------
    first_correct, second_correct
        Whether each method is correct, bool [N].

    Returns
    -------
    `first_only` and `second_only`, the numbers of images on which only that method is correct, and the two-sided
    `p_value`: 1 if the methods never differ.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"the methods must be compared on the same images: {first.shape} and {second.shape}")
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    differing = first_only + second_only
    p_value = float(binomtest(first_only, differing, 0.5).pvalue) if differing else 1.0
    return {"first_only": first_only, "second_only": second_only, "p_value": p_value}
