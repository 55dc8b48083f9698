"""Files of precomputed adversarial images. They are checked during planning, so nothing here needs torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featurepaths.data.array_formats import FileRows, array_in, open_arrays
from featurepaths.data.images import channels_last, layout_of
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.store.fingerprints import look_at_files

ROUNDING = 1e-6
"""Tolerance of values outside of [0, 1], and of perturbations outside of the ball."""
ROUNDING_OF = {"uint8": 0.5 / 255, "float16": 2.0**-12}
"""The tolerance of less exact types: half the greatest distance of neighbouring values in [0, 1]."""


@dataclass(frozen=True)
class AdversarialImages:
    """Adversarial images of an open file, in the order of the clean images.

    `positions` [M], ascending, are the positions of the clean images in their split, from 0.
    """

    path: str
    array: FileRows
    layout: str
    positions: np.ndarray
    order: np.ndarray
    """The row in the file of each image, [M]."""
    indexed: bool
    """Whether the file has positions; otherwise they are 0 to M - 1."""

    @property
    def rounding(self) -> float:
        """The greatest rounding error of a stored value."""
        return ROUNDING_OF.get(self.array.dtype.name, ROUNDING)

    def check(self, shape: tuple[int, ...], split: str) -> None:
        """Raise FeaturePathsError unless the images fit a split with images of `shape` [N, H, W, C]."""
        if (last := self.positions[-1]) >= shape[0]:
            name = f"'index' in {self.path}" if self.indexed else self.path
            raise FeaturePathsError(
                f"{name} holds {last}; the {split} split has images 0 to {shape[0] - 1}. "
                "Count from the first image of that split."
            )
        empty = np.broadcast_to(np.uint8(0), (1, *self.array.shape[1:]))
        image_shape = channels_last(empty, self.layout).shape[1:]
        if image_shape != shape[1:]:
            stored, expected = ("x".join(map(str, sizes)) for sizes in (image_shape, shape[1:]))
            raise FeaturePathsError(
                f"{self.array.name} holds images of {stored}; those of the data are {expected}. Attack the same data."
            )

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return a slice of the images, in the order of `positions`: float32 [n, C, H, W] in [0, 1].

        Raises
        ------
        FeaturePathsError
            If values are not finite or leave [0, 1]: the number of such images and their positions.
        """
        stored = self.order[rows]
        ascending = np.sort(stored)
        values = self.array[ascending][np.searchsorted(ascending, stored)]
        images = channels_last(values, self.layout).transpose(0, 3, 1, 2).astype(np.float32)
        if values.dtype == np.uint8:
            images /= 255
        # NaN is in no interval
        valid = ((images >= -ROUNDING) & (images <= 1 + ROUNDING)).reshape(len(images), -1).all(axis=1)
        if not valid.all():
            raise FeaturePathsError(
                f"{self.array.name} holds values outside of [0, 1], or NaN, for "
                f"{counted(self.positions[rows][~valid])}. Store adversarial images as uint8, or as floats in [0, 1]."
            )
        return np.ascontiguousarray(images.clip(0, 1))


@contextmanager
def open_adversarial(path: Path | str) -> Iterator[AdversarialImages]:
    """Open a file of adversarial images, of a format of `featurepaths.data.array_formats.open_arrays`.

    It holds ``adversarial``, uint8, or floats in [0, 1], as [M, C, H, W], [M, H, W, C] or [M, H, W]; and ``index`` [M],
    the position of each clean image in its split. ``adv_complete`` of AutoAttack, and a single array without a name,
    may lack ``index``: they hold the images of positions 0 to M - 1.

    Raises
    ------
    FeaturePathsError
        If an array is missing or has another type or shape, or an index occurs twice.
    """
    with open_arrays(path) as opened:
        array = array_in(opened, ("adversarial", "adv_complete"))
        layout = layout_of(array.shape, None, array.name)
        if array.dtype.kind != "f" and array.dtype != np.uint8:
            raise FeaturePathsError(f"{array.name} holds {array.dtype}; store uint8, or floats in [0, 1].")
        indexed = "index" in opened.names or not {"", "adv_complete"}.intersection(opened.names)
        every = np.arange(array.shape[0])
        index = array_in(opened, ("index",)) if indexed else FileRows(str(path), every.shape, every.dtype, every.take)
        if index.dtype.kind not in "iu" or index.shape != array.shape[:1] or 0 in array.shape:
            raise FeaturePathsError(
                f"{index.name} is {index.dtype} {list(index.shape)}; store one whole number for each image of "
                f"'adversarial' {list(array.shape)}."
            )
        indices = index[every]
        if indices.min() < 0:
            raise FeaturePathsError(f"{index.name} holds {indices.min()}; count the images of the split from 0.")
        order = np.argsort(indices, kind="stable")
        positions = indices[order]
        if (repeated := positions[1:][positions[1:] == positions[:-1]]).size:
            raise FeaturePathsError(
                f"{index.name} holds several times the index of {counted(np.unique(repeated))}. Store one example each."
            )
        yield AdversarialImages(str(path), array, layout, positions, order, indexed)


def digests_of_attacks(files: Mapping[str, Mapping[str, str]], memory: Path | None = None) -> dict[str, dict[str, str]]:
    """Return the digest of each file of adversarial images, by attack and split as in `files`.

    `memory` is that of `featurepaths.store.fingerprints.look_at_files`.

    Raises
    ------
    FeaturePathsError
        As `open_adversarial` does.
    """
    by_path = {path: Path(path) for by_split in files.values() for path in by_split.values()}
    for path in by_path:
        with open_adversarial(path):
            pass

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        return {attack: {split: digests[path] for split, path in paths.items()} for attack, paths in files.items()}

    return look_at_files(by_path, summary, "adversarial images", memory)
