"""The paper's detection score, eq. (5)."""

from collections.abc import Sequence

import numpy as np

from featurepaths.paths.aggregate import aggregate


def s_max(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Return S_max = max_c S_c of similarities [N, L, C] over `layers` (from 1): float64 [N], low when adversarial."""
    return aggregate(similarity, layers, weights).max(axis=1)
