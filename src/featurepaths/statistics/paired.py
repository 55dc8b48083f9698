"""Whether two methods that answer on the same images differ (McNemar, Psychometrika 1947)."""

import numpy as np


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> dict[str, int | float]:
    """Return McNemar's exact test of two methods' answers to the same images, by SciPy.

    Images that both get right, or both wrong, say nothing about a difference. If the methods are equally good, each of
    the others falls to either of them with probability 1/2.

    Parameters
    ----------
    first_correct, second_correct
        Whether each method is right, bool [N].

    Returns
    -------
    `first_only` and `second_only`, how many images only that method gets right, and `p_value`, two-sided: 1 where the
    methods never differ.
    """
    from scipy.stats import binomtest

    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"the methods answer on different images: {first.shape} and {second.shape}")
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    differing = first_only + second_only
    p_value = float(binomtest(first_only, differing, 0.5).pvalue) if differing else 1.0
    return {"first_only": first_only, "second_only": second_only, "p_value": p_value}
