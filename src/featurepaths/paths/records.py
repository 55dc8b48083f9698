"""Feature paths on disk: an artefact's similarities, read in chunks; without torch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.store.hdf5 import as_slice, open_hdf5

CHUNK = 1024
"""Number of images whose similarities are in memory at a time."""


@dataclass(frozen=True)
class FeaturePaths:
    """Feature paths of N images, whose similarities stay on disk.

    `similarity` [M, L, C] is the similarity to every class in every layer; `rows` [N], ascending, are the rows of it
    that belong to these images. `network_predictions` [N] are the undefended network's, `labels` [N] the true classes,
    `index` [N] the images' rows in the data set.
    """

    similarity: h5py.Dataset | np.ndarray
    rows: np.ndarray
    network_predictions: np.ndarray
    labels: np.ndarray
    index: np.ndarray

    @property
    def network_correct(self) -> np.ndarray:
        """Whether the undefended network is correct, bool [N]."""
        return self.network_predictions == self.labels

    def map_rows(self, function: Callable[..., np.ndarray], *values: np.ndarray) -> np.ndarray:
        """Return `function`, from similarities [n, L, C] to results [n, ...], of all images: [N, ...].

        `function` receives the rows of further `values` [N, ...] after the similarities of the same images.

        Raises
        ------
        FeaturePathsError
            If a similarity is not finite.
        """
        chunks = _finite_chunks(self.similarity, self.rows)
        return np.concatenate([function(chunk, *(array[part] for array in values)) for part, chunk in chunks])

    def take(self, positions: np.ndarray) -> "FeaturePaths":
        """Return the feature paths of the images at ascending positions."""
        fields = {name: getattr(self, name)[positions] for name in ("rows", "network_predictions", "labels", "index")}
        return replace(self, **fields)


@contextmanager
def open_paths(path: Path) -> Iterator[FeaturePaths]:
    """Open an artefact of feature paths.

    Raises
    ------
    FeaturePathsError
        If it cannot be read, or holds a logit that is not finite.
    """
    with open_hdf5(path) as file:
        labels, index, rows = file["labels"][:], file["index"][:], np.arange(len(file["labels"]))
        predictions = np.empty(len(rows), np.int64)
        for part, logits in _finite_chunks(file["logits"], rows):
            predictions[part] = logits.argmax(axis=1)
        yield FeaturePaths(file["similarity"], rows, predictions, labels, index)


@contextmanager
def open_pair(clean: Path, adversarial: Path) -> Iterator[tuple[FeaturePaths, FeaturePaths]]:
    """Open the feature paths of adversarial examples, and of their clean images, row for row.

    Raises
    ------
    FeaturePathsError
        If an adversarial example has no clean image.
    """
    with open_paths(clean) as clean_paths, open_paths(adversarial) as adversarial_paths:
        _, positions, _ = np.intersect1d(clean_paths.index, adversarial_paths.index, return_indices=True)
        clean_paths = clean_paths.take(positions)
        if not np.array_equal(clean_paths.labels, adversarial_paths.labels):  # of other length, if images are missing
            raise FeaturePathsError(
                f"{clean} and {adversarial} do not hold the same images. Delete them and run snakemake again."
            )
        yield clean_paths, adversarial_paths


def _finite_chunks(values: h5py.Dataset | np.ndarray, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield slices of the positions in `rows`, ascending, and those rows of `values`; refuse NaN and infinity."""
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        chunk = values[as_slice(rows[part])]
        if not np.isfinite(chunk).all():
            path = values.file.filename if isinstance(values, h5py.Dataset) else "the feature paths"
            raise FeaturePathsError(f"{path} contains NaN or infinity. Delete it and run snakemake again.")
        yield part, chunk
