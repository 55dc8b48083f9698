"""Weighted fusion of similarities over layers: the paper's eq. (3)."""

from collections.abc import Sequence

import numpy as np

from featurepaths.errors import FeaturePathsError


def weights_of(weights: str | Sequence[float], count: int) -> np.ndarray:
    """Return the weights of `count` layers, which sum to 1: given ones, or the same for each when ``equal``."""
    return np.full(count, 1 / count) if weights == "equal" else np.asarray(weights, dtype=np.float64)


def chosen_layers(values: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """Return what stands along the second axis of `values` [N, L, ...] for `layers`, numbered from 1.

    Raises
    ------
    FeaturePathsError
        If there is no such layer.
    """
    if wrong := [layer for layer in layers if not 1 <= layer <= values.shape[1]]:
        raise FeaturePathsError(
            f"There is no layer {wrong[-1]}: the network has {values.shape[1]}. Change layers of detection or "
            "recognition, or recognition.combinations."
        )
    return values[:, np.asarray(layers) - 1]


def aggregate(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Return S_c, the weighted sum over `layers` (numbered from 1) of similarities [N, L, C]: float64 [N, C]."""
    return np.einsum("nlc,l->nc", chosen_layers(similarity, layers).astype(np.float64), weights)
