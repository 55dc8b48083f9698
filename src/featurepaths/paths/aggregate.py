"""Weighted fusion of similarities over layers: the paper's eq. (3)."""

from collections.abc import Sequence

import numpy as np


def weights_of(weights: str | Sequence[float], count: int) -> np.ndarray:
    """Return the weights of `count` layers, which sum to 1: given ones, or the same for each when ``equal``."""
    return np.full(count, 1 / count) if weights == "equal" else np.asarray(weights, dtype=np.float64)


def aggregate(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Return S_c, the weighted sum over `layers` (numbered from 1) of similarities [N, L, C]: float64 [N, C]."""
    chosen = similarity[:, np.asarray(layers) - 1].astype(np.float64)
    return np.einsum("nlc,l->nc", chosen, weights)
