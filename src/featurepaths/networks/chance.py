"""Networks that are right on no more clean images than chance; without torch, so that the verdict can use it."""

import numpy as np

LEVEL = 0.05
"""Level of the test; see `chance`."""


def chance(correct: int, n: int, most_frequent: int) -> str:
    """Return a warning if a network is not significantly better than always naming the most frequent class, else "".

    The test is the exact binomial one, one-sided, at `LEVEL`. If there are so few images that no network could be
    significantly better, the result is "".

    Parameters
    ----------
    correct, n
        On how many of how many clean images the network is right.
    most_frequent
        How many of the images have the most frequent of their classes.
    """
    from scipy.special import bdtrc

    share = most_frequent / n
    if share**n >= LEVEL or not bdtrc(correct - 1, n, share) >= LEVEL:
        return ""
    return (
        f"The network is right on {100 * correct / n:.1f} % of {n:,} clean images: chance. Always naming the most "
        f"frequent class is right on {100 * share:.1f} %, and the network is not significantly better (exact binomial "
        f"test, one-sided, level {100 * LEVEL:g} %). Results for such a network mean nothing. The most common causes "
        "are a mean and std other than in training, another order of the classes, and a head that was not loaded or "
        "not trained."
    )


def chance_in(correct: np.ndarray, labels: np.ndarray) -> str:
    """Return the warning of `chance` for images by whether the network is right on each, bool [N], and labels [N]."""
    return chance(int(correct.sum()), len(labels), int(np.bincount(labels).max()))
