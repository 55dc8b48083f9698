"""Feature paths as an artefact holds them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.store.hdf5 import as_slice, open_hdf5

CHUNK = 1024
"""Images whose similarities are in memory at a time."""


@dataclass(frozen=True)
class FeaturePaths:
    """Feature paths of N images, whose similarities stay on the disk.

    `similarity` [M, L, C] is the similarity to every class in every layer, `rows` [N] says, ascending, which of it
    belongs to these images. `network_predictions` [N] are the undefended network's labels, `labels` [N] the true ones,
    `index` [N] are the images' rows in the data set.
    """

    similarity: h5py.Dataset | np.ndarray
    rows: np.ndarray
    network_predictions: np.ndarray
    labels: np.ndarray
    index: np.ndarray

    @property
    def network_correct(self) -> np.ndarray:
        """Whether the undefended network is right [N]."""
        return self.network_predictions == self.labels

    def of_each(self, function: Callable[..., np.ndarray], *values: np.ndarray) -> np.ndarray:
        """Return what `function` makes of similarities, [n, L, C] to [n, ...], for all images [N, ...].

        With `values` [N, ...] it is given those of the same images as well.

        Raises
        ------
        FeaturePathsError
            If a similarity is not finite.
        """
        return np.concatenate([function(found, *(of[part] for of in values)) for part, found in self._chunks()])

    def take(self, chosen: np.ndarray) -> "FeaturePaths":
        """Return the feature paths of some images, by an ascending array of their positions."""
        fields = {name: getattr(self, name)[chosen] for name in ("rows", "network_predictions", "labels", "index")}
        return replace(self, **fields)

    def _chunks(self) -> Iterator[tuple[slice, np.ndarray]]:
        for start in range(0, len(self.rows), CHUNK):
            part = slice(start, start + CHUNK)
            rows = self.rows[part]
            similarity = self.similarity[as_slice(rows)]
            _check_finite(similarity, self.similarity)
            yield part, similarity


@contextmanager
def open_paths(path: Path) -> Iterator[FeaturePaths]:
    """Open an artefact of feature paths.

    Raises
    ------
    FeaturePathsError
        If it cannot be read, or holds a logit that is not finite.
    """
    with open_hdf5(path) as file:
        labels, index, logits = file["labels"][:], file["index"][:], file["logits"]
        network_predictions = np.empty(len(labels), np.int64)
        for start in range(0, len(labels), CHUNK):
            some = logits[start : start + CHUNK]
            _check_finite(some, logits)
            network_predictions[start : start + CHUNK] = some.argmax(axis=1)
        yield FeaturePaths(file["similarity"], np.arange(len(labels)), network_predictions, labels, index)


@contextmanager
def open_pair(clean: Path, adversarial: Path) -> Iterator[tuple[FeaturePaths, FeaturePaths]]:
    """Open the feature paths of adversarial examples, and of the clean images that they were made from, row for row.

    Raises
    ------
    FeaturePathsError
        If the adversarial examples are not of some of the clean images.
    """
    with open_paths(clean) as of_clean, open_paths(adversarial) as of_adversarial:
        _, chosen, found = np.intersect1d(of_clean.index, of_adversarial.index, return_indices=True)
        pair = of_clean.take(chosen), of_adversarial
        if len(found) < len(of_adversarial.index) or not np.array_equal(pair[0].labels, pair[1].labels):
            raise FeaturePathsError(f"{clean} and {adversarial} are not of the same images.")
        yield pair


def _check_finite(values: np.ndarray, source: h5py.Dataset | np.ndarray) -> None:
    if not np.isfinite(values).all():
        path = source.file.filename if isinstance(source, h5py.Dataset) else "the feature paths"
        raise FeaturePathsError(f"{path} holds a number that is not finite. Delete it and run snakemake again.")
