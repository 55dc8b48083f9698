"""Whether two classifiers differ on the same images."""

import numpy as np


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> dict[str, float]:
    """Return McNemar's exact test of two classifiers on the same images, by SciPy.

    Only images that one of them answers correctly and the other does not say which is better; were they equally good,
    either would be as likely the right one (McNemar 1947; exact binomial, two-sided).

    Parameters
    ----------
    first_correct, second_correct
        Whether each image was answered correctly, bool [N].

    Returns
    -------
    ``first_only`` and ``second_only``, images that only one answers correctly, and ``p_value``, 1 if there are none.
    """
    from scipy.stats import binomtest

    first_correct, second_correct = np.asarray(first_correct, bool), np.asarray(second_correct, bool)
    first_only = int((first_correct & ~second_correct).sum())
    second_only = int((second_correct & ~first_correct).sum())
    differing = first_only + second_only
    p_value = float(binomtest(first_only, differing).pvalue) if differing else 1.0
    return {"first_only": first_only, "second_only": second_only, "p_value": p_value}
