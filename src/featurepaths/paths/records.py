"""Feature paths as an artefact holds them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.storage import open_hdf5


@dataclass(frozen=True)
class FeaturePaths:
    """Similarities [N, L, C] of some images to every class in every layer, the network's logits [N, C], labels [N]."""

    similarity: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @property
    def network_labels(self) -> np.ndarray:
        """The undefended network's labels [N]."""
        return self.logits.argmax(axis=1)

    @property
    def network_correct(self) -> np.ndarray:
        """Whether the undefended network is right [N]."""
        return self.network_labels == self.labels


def read_paths(path: Path) -> FeaturePaths:
    """Read an artefact of feature paths.

    Raises
    ------
    FeaturePathsError
        If it cannot be read, or holds a number that is not finite.
    """
    with open_hdf5(path) as file:
        found = FeaturePaths(file["similarity"][:], file["logits"][:], file["labels"][:])
    if not (np.isfinite(found.similarity).all() and np.isfinite(found.logits).all()):
        raise FeaturePathsError(f"{path} holds a number that is not finite. Delete it and run snakemake again.")
    return found


def read_pair(clean: Path, adversarial: Path) -> tuple[FeaturePaths, FeaturePaths]:
    """Read the feature paths of clean images and of their adversarial examples, row for row.

    Raises
    ------
    FeaturePathsError
        If they are not of the same images.
    """
    pair = read_paths(clean), read_paths(adversarial)
    if not np.array_equal(pair[0].labels, pair[1].labels):
        raise FeaturePathsError(f"{clean} and {adversarial} are not of the same images.")
    return pair
