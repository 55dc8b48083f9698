"""Class sums and chunks of features: class means in bounded memory, whatever the number of images."""

from collections.abc import Iterator
from typing import ClassVar, Protocol, TypeVar

import numpy as np

from featurepaths.errors import FeaturePathsError

CHUNK_ROWS = 64, 512
CHUNK_VALUES = 2**23
"""A chunk has the number of rows that hold this number of values, within the bounds `CHUNK_ROWS`. The size depends on
the features alone, so that sums are always taken in the same order."""


class Rows(Protocol):
    """Rows [n, d] that are read by slices: an array, or an HDF5 data set, of which one chunk is in memory."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: slice) -> np.ndarray: ...


class Accumulator(Protocol):
    """Measures features chunk by chunk; its attributes `ACCUMULATED` are all that `add` changes."""

    ACCUMULATED: ClassVar[tuple[str, ...]]

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Add features, float32 [n, d], of images of the classes `labels` [n]."""


A = TypeVar("A", bound=Accumulator)


def accumulated(accumulator: A, features: Rows, labels: np.ndarray) -> A:
    """Return the accumulator after adding all features [N, d], chunk by chunk."""
    for rows, chunk in chunks(features):
        accumulator.add(chunk, labels[rows])
    return accumulator


def chunks(features: Rows) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of each chunk of features [N, d], and its values in float32."""
    count, width = features.shape
    least, most = CHUNK_ROWS
    size = min(max(CHUNK_VALUES // width, least), most)
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        yield rows, features[rows].astype(np.float32)


class ClassSums:
    """Sums of one layer's features by class."""

    ACCUMULATED = "sums", "counts"

    def __init__(self, classes: int, width: int):
        self.sums = np.zeros((classes, width))
        self.counts = np.zeros(classes, np.int64)

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Add features, float32 [n, d], of images of the classes `labels` [n]."""
        counts = np.bincount(labels, minlength=len(self.counts))
        self.counts += counts
        # if most classes have no image here, their rows are left alone
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
            raise FeaturePathsError(
                f"Class {int(np.argmin(self.counts))} has no image, so its mean feature is undefined. Add images of it."
            )
        return self.sums / self.counts[:, None]


def class_means(features: Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean feature of each class, float64 [classes, d]; errors are those of `ClassSums.means`."""
    return accumulated(ClassSums(classes, features.shape[1]), features, labels).means()
