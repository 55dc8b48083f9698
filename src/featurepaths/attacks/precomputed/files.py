"""Files of adversarial images that were made elsewhere. Read while jobs are planned, so nothing here needs torch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featurepaths.data.array_files import FileRows, array_in, open_arrays
from featurepaths.data.images import channels_last, layout_of
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.store.fingerprints import look_at_files

ROUNDING = 1e-6
"""How far values may be rounded out of [0, 1], and perturbations out of the ball."""
ROUNDING_OF = {"uint8": 0.5 / 255, "float16": 2.0**-12}
"""The same of types that hold values in [0, 1] less exactly: half their greatest step."""


@dataclass(frozen=True)
class AdversarialImages:
    """Adversarial images of an open file, in the order of the images that they were made from.

    `positions` [M], ascending, are those images' positions in their split: 0 is the first one.
    """

    path: str
    array: FileRows
    layout: str
    positions: np.ndarray
    order: np.ndarray
    """Rows in the file, in that order [M]."""

    @property
    def rounding(self) -> float:
        """How far storing may have moved a value."""
        return ROUNDING_OF.get(self.array.dtype.name, ROUNDING)

    def check(self, shape: tuple[int, ...], split: str) -> None:
        """Raise FeaturePathsError unless these can be made from the images of a split [N, H, W, C]."""
        if (last := self.positions[-1]) >= shape[0]:
            raise FeaturePathsError(
                f"'index' in {self.path} holds {last}; the {split} split has images 0 to {shape[0] - 1}."
            )
        empty = np.broadcast_to(np.uint8(0), (1, *self.array.shape[1:]))
        found = channels_last(empty, self.layout).shape[1:]
        if found != shape[1:]:
            found, expected = ("x".join(map(str, each)) for each in (found, shape[1:]))
            raise FeaturePathsError(f"{self.array.name} holds images of {found}; those of the data are {expected}.")

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return a slice of the images, in the order of `positions`: float32 [n, C, H, W] in [0, 1].

        Raises
        ------
        FeaturePathsError
            Naming the first one that is not finite or leaves [0, 1].
        """
        wanted = self.order[rows]
        ascending = np.sort(wanted)
        values = self.array[ascending][np.searchsorted(ascending, wanted)]
        images = channels_last(values, self.layout).transpose(0, 3, 1, 2).astype(np.float32)
        if values.dtype == np.uint8:
            images /= 255
        # NaN is in no interval
        within = ((images >= -ROUNDING) & (images <= 1 + ROUNDING)).reshape(len(images), -1).all(axis=1)
        if not within.all():
            wrong = self.positions[rows][~within]
            raise FeaturePathsError(
                f"{self.array.name} holds values outside of [0, 1], or NaN, for {counted(wrong)}. Adversarial images "
                "are uint8, or floats in [0, 1]."
            )
        return np.ascontiguousarray(images.clip(0, 1))


@contextmanager
def open_adversarial(path: Path | str) -> Iterator[AdversarialImages]:
    """Open an npz or HDF5 file of adversarial images.

    It holds ``adversarial``, uint8, or floats in [0, 1], as [M, C, H, W], [M, H, W, C] or [M, H, W]; and ``index`` [M],
    the position in the split of the image that each was made from.

    Raises
    ------
    FeaturePathsError
        If something is missing, or an index stands there twice.
    """
    with open_arrays(path) as opened:
        array, index = (array_in(opened, (name,)) for name in ("adversarial", "index"))
        layout = layout_of(array.shape, None, array.name)
        if array.dtype.kind != "f" and array.dtype != np.uint8:
            raise FeaturePathsError(f"{array.name} holds {array.dtype}; it should be uint8, or floats in [0, 1].")
        if index.dtype.kind not in "iu" or index.shape != array.shape[:1] or 0 in array.shape:
            raise FeaturePathsError(
                f"{index.name} is {index.dtype} {list(index.shape)}; it should be one whole number for each image of "
                f"'adversarial' {list(array.shape)}."
            )
        found = index[np.arange(index.shape[0])]
        if found.min() < 0:
            raise FeaturePathsError(f"{index.name} holds {found.min()}; it should count from 0.")
        order = np.argsort(found, kind="stable")
        positions = found[order]
        if (twice := positions[1:][positions[1:] == positions[:-1]]).size:
            raise FeaturePathsError(f"{index.name} names several times {counted(np.unique(twice))}.")
        yield AdversarialImages(str(path), array, layout, positions, order)


def digests_of_attacks(files: Mapping[str, Mapping[str, str]], memory: Path | None = None) -> dict[str, dict[str, str]]:
    """Return the digest of each file of adversarial images, by attack and split, as `files` names them.

    `memory` is that of `featurepaths.store.fingerprints.look_at_files`.

    Raises
    ------
    FeaturePathsError
        As `open_adversarial` does.
    """
    by_path = {path: Path(path) for of_attack in files.values() for path in of_attack.values()}
    for path in by_path:
        with open_adversarial(path):
            pass

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        return {
            attack: {split: digests[path] for split, path in of_attack.items()} for attack, of_attack in files.items()
        }

    return look_at_files(by_path, summary, "adversarial images", memory)
