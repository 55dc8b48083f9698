"""The paper's equations: class centroids (1), cosine similarities (2), weighted fusion over layers (3), and S_max (5).

Equations (2), (3) and (5) stand in two forms: for NumPy arrays, which the evaluation counts with, and for torch tensors
(`..._tensor`), with gradients, which attacks follow. torch is imported only where the second form needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.paths.chunks import Rows, chunks, class_means

if TYPE_CHECKING:
    from torch import Tensor


# Eq. (1): class centroids


def centroids(features: Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the class centroids of one layer, eq. (1), from features [N, d]: unit vectors, float32 [classes, d].

    Raises
    ------
    FeaturePathsError
        If a class has no image.
    """
    return centroids_of(class_means(features, labels, classes))


def centroids_of(means: np.ndarray) -> np.ndarray:
    """Return the class centroids of one layer, eq. (1), from class means [classes, d]: unit vectors, float32.

    A zero mean stays zero.
    """
    length = np.linalg.norm(means, axis=-1, keepdims=True)
    return np.divide(means, length, out=np.zeros_like(means), where=length > 0).astype(np.float32)


# Eq. (2): feature paths


def cosine_similarity(features: np.ndarray, layer_centroids: np.ndarray) -> np.ndarray:
    """Return the cosine similarity, eq. (2), of features, float32 [n, d], to centroids [C, d]: float32 [n, C].

    A zero feature has similarity 0 to every class.
    """
    with np.errstate(over="ignore"):
        squared = np.vecdot(features, features)
    # the squares of lengths from 1e19 on overflow in float32, and those below 1e-19 lose bits; the bounds have a margin
    if not (in_range := (squared > 1e-30) & (squared < np.inf)).all():
        greatest = np.abs(features).max(axis=1, keepdims=True)
        unscaled = in_range[:, None] | (greatest == 0)
        features = np.divide(features, greatest, out=features.copy(), where=~unscaled)
        squared = np.vecdot(features, features)
    length = np.sqrt(squared)[:, None]
    product = features @ layer_centroids.T
    cosine = np.divide(product, length, out=np.zeros_like(product), where=length != 0)
    return np.clip(cosine, -1, 1)


def cosine_similarity_tensor(features: Tensor, layer_centroids: Tensor) -> Tensor:
    """Return the cosine similarity, eq. (2), of features [N, d] to centroids [C, d]: [N, C], differentiable.

    A zero feature has similarity 0 to every class, and a finite gradient. The similarity is NaN if a feature's length
    overflows its type (float32: from 1e19 on).
    """
    return (features @ layer_centroids.T / _length_or_one(features)).clamp(-1, 1)


def similarities(features: Rows, layer_centroids: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of each chunk of features [N, d], and its cosine similarities, eq. (2): float32 [n, C]."""
    for rows, chunk in chunks(features):
        yield rows, cosine_similarity(chunk, layer_centroids)


def unit(vectors: Tensor) -> Tensor:
    """Return vectors [N, d] scaled to length 1, differentiable; a zero vector stays zero, with a finite gradient.

    A vector whose length overflows its type is NaN, which detectors refuse.
    """
    return vectors / _length_or_one(vectors)


def _length_or_one(vectors: Tensor) -> Tensor:
    length = vectors.norm(dim=1, keepdim=True)  # whose gradient at 0 is 0
    length = length + 0 * length.detach()  # 0 * inf is NaN: an overflow results in NaN, not in a similarity of 0
    return length.masked_fill(length == 0, 1)


# Eqs. (3) and (5): fusion over layers


def class_scores(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Return S_c, eq. (3): the weighted sum over `layers` (from 1) of similarities [N, L, C], float64 [N, C]."""
    return np.einsum("nlc,l->nc", select_layers(similarity, layers).astype(np.float64), weights)


def class_scores_tensor(similarity: Tensor, layers: Sequence[int], weights: Tensor) -> Tensor:
    """Return S_c, eq. (3): the weighted sum over `layers` (from 1) of similarities [N, L, C], float64 [N, C].

    Differentiable. It may differ from `class_scores` in the last bits, as torch adds in another order.
    """
    of_layers = similarity[:, [layer - 1 for layer in layers]].double()
    # imported by name: an import statement would let the version of torch count for stages that only use NumPy
    return import_module("torch").einsum("nlc,l->nc", of_layers, weights)


def s_max(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Return S_max, eq. (5): the greatest S_c of similarities [N, L, C], float64 [N], low when adversarial."""
    return class_scores(similarity, layers, weights).max(axis=1)


def s_max_tensor(similarity: Tensor, layers: Sequence[int], weights: Tensor) -> Tensor:
    """Return S_max, eq. (5): the greatest S_c of similarities [N, L, C], float64 [N]; differentiable."""
    return class_scores_tensor(similarity, layers, weights).amax(dim=1)


def weights_of(weights: str | Sequence[float], count: int) -> np.ndarray:
    """Return the weights of `count` layers in eq. (3), which sum to 1: the given ones, or all the same if ``equal``."""
    return np.full(count, 1 / count) if weights == "equal" else np.asarray(weights, dtype=np.float64)


def select_layers(values: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """Return the entries of `layers`, numbered from 1, along the second axis of `values` [N, L, ...].

    Raises
    ------
    FeaturePathsError
        If there is no such layer.
    """
    if missing := [layer for layer in layers if not 1 <= layer <= values.shape[1]]:
        raise FeaturePathsError(
            f"There is no layer {missing[-1]}: the network has {values.shape[1]}. Change layers of detection or "
            "recognition, or recognition.combinations."
        )
    return values[:, np.asarray(layers) - 1]
