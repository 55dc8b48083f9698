"""The paper's equations: centroids (1), similarities (2), fusion over layers (3), and S_max (5)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from featurepaths.errors import FeaturePathsError

CHUNK_ROWS = 64, 512
CHUNK_VALUES = 2**23
"""Rows read at a time: as many as hold so many values, within these bounds. They depend on the features alone, so that
sums are always taken in the same order."""


class Rows(Protocol):
    """Anything that gives rows [n, d] by slices: an array, or an HDF5 data set, which is then read by chunks."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: slice) -> np.ndarray: ...


def chunks(features: Rows) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield features [N, d] as float32, some rows at a time."""
    count, width = features.shape
    least, most = CHUNK_ROWS
    size = min(max(CHUNK_VALUES // width, least), most)
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        yield rows, features[rows].astype(np.float32)


class ClassSums:
    """Sums of one layer's features by class, taken in some rows at a time: no more than them is in memory."""

    GATHERED = "sums", "counts"
    """All that `add` changes: see `featurepaths.paths.gather`."""

    def __init__(self, classes: int, width: int):
        self.sums = np.zeros((classes, width))
        self.counts = np.zeros(classes, np.int64)

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Add features, float32 [n, d], of images of the classes `labels` [n]."""
        counts = np.bincount(labels, minlength=len(self.counts))
        self.counts += counts
        # all classes, unless most have no image here: then their rows are left alone
        present = np.flatnonzero(counts) if len(labels) < len(counts) / 2 else slice(None)
        membership = np.equal.outer(np.arange(len(counts))[present], labels)
        self.sums[present] += membership.astype(np.float32) @ features

    def means(self) -> np.ndarray:
        """Return the mean feature of each class, float64 [classes, d].

        Raises
        ------
        FeaturePathsError
            If a class has no image.
        """
        if (self.counts == 0).any():
            raise FeaturePathsError(f"Class {int(np.argmin(self.counts))} has no image to take a mean of.")
        return self.sums / self.counts[:, None]


def class_means(features: Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean feature of each class, float64 [classes, d].

    Raises
    ------
    FeaturePathsError
        If a class has no image.
    """
    found = ClassSums(classes, features.shape[1])
    for rows, chunk in chunks(features):
        found.add(chunk, labels[rows])
    return found.means()


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Return vectors [..., d] scaled to length 1, which is Norm(x) in eq. (1); a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def centroids(features: Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the class centroids of one layer, eq. (1): unit vectors, float32 [classes, d]."""
    return centroids_of(class_means(features, labels, classes))


def centroids_of(means: np.ndarray) -> np.ndarray:
    """Return the centroids of one layer with class means [classes, d]: unit vectors, float32 [classes, d]."""
    return normalise(means).astype(np.float32)


def similarities(features: Rows, layer_centroids: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the cosine similarity of features [N, d] to centroids [C, d], eq. (2): some rows, and float32 [n, C]."""
    for rows, chunk in chunks(features):
        yield rows, similarity_of(chunk, layer_centroids)


def similarity_of(features: np.ndarray, layer_centroids: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of features, float32 [n, d], to centroids [C, d], eq. (2): float32 [n, C].

    The feature is normalised too. A zero feature has similarity 0 to every class.
    """
    with np.errstate(over="ignore"):
        squared = np.vecdot(features, features)
    # squares of float32 overflow from 1e19 on, and lose their bits below 1e-19
    if not (in_range := (squared > 1e-30) & (squared < np.inf)).all():
        greatest = np.abs(features).max(axis=1, keepdims=True)
        unscaled = in_range[:, None] | (greatest == 0)
        features = np.divide(features, greatest, out=features.copy(), where=~unscaled)
        squared = np.vecdot(features, features)
    length = np.sqrt(squared)[:, None]
    product = features @ layer_centroids.T
    cosine = np.divide(product, length, out=np.zeros_like(product), where=length != 0)
    return np.clip(cosine, -1, 1)


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


def s_max(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Return S_max = max_c S_c of similarities [N, L, C] over `layers` (from 1): float64 [N], low when adversarial."""
    return aggregate(similarity, layers, weights).max(axis=1)
