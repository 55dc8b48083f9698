"""Class centroids and the cosine similarity of images to them: the paper's eqs. (1) and (2)."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from featurepaths.errors import FeaturePathsError

CHUNK = 1024
"""Rows read at a time. It is fixed, so that sums are always taken in the same order."""


class Rows(Protocol):
    """Anything that gives rows [n, d] by slices: an array, or an HDF5 data set, which is then read by chunks."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: slice) -> np.ndarray: ...


def chunks(features: Rows) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield features [N, d] as float32, some rows at a time."""
    count = features.shape[0]
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        yield rows, features[rows].astype(np.float32)


def class_means(features: Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean feature of each class, float64 [classes, d].

    Raises
    ------
    FeaturePathsError
        If a class has no image.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise FeaturePathsError(f"Class {int(np.argmin(counts))} has no image to take a mean of.")
    sums = np.zeros((classes, features.shape[1]))
    for rows, chunk in chunks(features):
        membership = np.equal.outer(np.arange(classes), labels[rows])
        sums += membership.astype(np.float64) @ chunk
    return sums / counts[:, None]


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Return vectors [..., d] scaled to length 1, which is Norm(x) in eq. (1); a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def centroids(features: Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the class centroids of one layer, eq. (1): unit vectors, float32 [classes, d]."""
    return normalise(class_means(features, labels, classes)).astype(np.float32)


def similarities(features: Rows, layer_centroids: np.ndarray) -> np.ndarray:
    """Return the cosine similarity of each feature [N, d] to each centroid [C, d], eq. (2): float32 [N, C].

    The feature is normalised too. A zero feature has similarity 0 to every class.
    """
    result = np.empty((features.shape[0], len(layer_centroids)), dtype=np.float32)
    for rows, chunk in chunks(features):
        np.clip(normalise(chunk) @ layer_centroids.T, -1, 1, out=result[rows])
    return result
