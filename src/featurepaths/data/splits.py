"""Data sets as one artefact: images, labels, and which split each image belongs to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.runtime.progress import progress
from featurepaths.store.hdf5 import RowWriter, as_slice, create_hdf5, open_hdf5
from featurepaths.store.origin import Origin

PARTS = ("train", "test")
SPLITS = ("train", "calibration", "test")
PART_OF = {"train": "train", "calibration": "train", "test": "test"}
"""The part that the images of each split are taken from."""
FEW_LEVELS = 32
"""Images without a value of at least this are reported: their levels hardly stand for 0 to 255."""
CHUNK = 1024
"""Images read or written at a time."""


class Rows(Protocol):
    """An array in memory, or in a file from which it is read when indexed with ascending row numbers."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


Parts = Mapping[str, tuple[Rows, np.ndarray]]
"""Images, uint8 [N, H, W, C], and labels [N] of each of `PARTS`."""


@dataclass(frozen=True)
class Split:
    """Images of one split of an open artefact, read from the file when indexed.

    `labels` [N] and `indices` [N], the ascending rows in the artefact, are in memory.
    """

    dataset: h5py.Dataset
    labels: np.ndarray
    indices: np.ndarray
    class_names: list[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all the images, [N, H, W, C]."""
        return len(self.indices), *self.dataset.shape[1:]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the images of a slice of rows, or of an ascending array of them: uint8 [n, H, W, C]."""
        return self.dataset[as_slice(self.indices[rows])]


def write_splits(
    path: Path, parts: Parts, class_names: list[str], calibration: float, seed: int, origin: Origin, provenance: str
) -> dict[str, int]:
    """Split the calibration images off the training images, write all splits, and return their sizes.

    Images are read and written `CHUNK` at a time.

    Parameters
    ----------
    calibration
        Share of each class's training images that become the calibration split; 0 for none.
    seed
        Seed of the stratified random split.
    provenance
        The source of the images, stored with them.

    Raises
    ------
    FeaturePathsError
        If a class has no image in a split, or an image cannot be read.
    """
    rows = rows_of_splits({part: labels for part, (_, labels) in parts.items()}, class_names, calibration, seed)
    labels = {split: parts[PART_OF[split]][1][rows[split]] for split in SPLITS}
    sizes = {split: len(rows[split]) for split in SPLITS}
    chunks = [(split, start) for split in SPLITS for start in range(0, sizes[split], CHUNK)]
    with create_hdf5(path, origin) as file:
        file.attrs["provenance"] = provenance
        all_labels = np.concatenate(list(labels.values())).astype(np.int64)
        split_names = np.repeat(np.array(SPLITS, dtype="S11"), list(sizes.values()))
        write = RowWriter(file, slice(0, len(all_labels)), {"labels": all_labels, "split": split_names})
        file["class_names"] = np.array(class_names, dtype=object)
        written = greatest = 0
        for split, start in progress(chunks, "images", len(chunks), f"blocks of {CHUNK}"):
            images, _ = parts[PART_OF[split]]
            chunk = images[rows[split][start : start + CHUNK]]
            write(slice(written, written + len(chunk)), {"images": chunk})
            written, greatest = written + len(chunk), max(greatest, int(chunk.max()))
    warn_of_few_levels(greatest)
    return sizes


def rows_of_splits(
    labels: Mapping[str, np.ndarray], class_names: list[str], calibration: float, seed: int
) -> dict[str, np.ndarray]:
    """Return the ascending rows of each split in its part, by the labels of both `PARTS`; see `write_splits`.

    Raises
    ------
    FeaturePathsError
        If a class has no image in a split.
    """
    rows = {part: np.arange(len(labels[part])) for part in PARTS} | {"calibration": np.arange(0)}
    if calibration > 0:
        halves = split_off(rows["train"], labels["train"], calibration, seed, "data.calibration")
        rows["train"], rows["calibration"] = map(np.sort, halves)
    for split in SPLITS:
        missing = sorted(set(range(len(class_names))) - set(labels[PART_OF[split]][rows[split]].tolist()))
        if missing and (split != "calibration" or calibration > 0):
            raise FeaturePathsError(
                f"The {split} split has no image of class {class_names[missing[0]]}. Add some, or number the classes "
                "that have images 0, 1, 2, ..."
            )
    return rows


def warn_of_few_levels(greatest: int) -> None:
    """Print a warning if the greatest value of the images hardly stands for white."""
    if greatest < FEW_LEVELS:
        print(
            f"Warning: the greatest value of the images is {greatest} of 255. If it should be white, scale the images: "
            f"np.round(images * (255 / {greatest or 1})).astype(np.uint8). An eps of 4/255 is 4 of these levels."
        )


def split_off(rows: np.ndarray, labels: np.ndarray, share: float, seed: int, key: str) -> list[np.ndarray]:
    """Split `share` of the rows [N] of every class off and return both parts; errors name the setting `key`."""
    from sklearn.model_selection import train_test_split

    with reported(f"{key}: {share:g} of {len(rows)} images cannot be split off", ValueError, remedy="Add images."):
        return train_test_split(rows, test_size=share, stratify=labels, random_state=seed)


@contextmanager
def open_split(path: Path, split: str, limit: int | None = None) -> Iterator[Split]:
    """Open the artefact at `path` and yield the images of one split, or `limit` of them, evenly spaced.

    Raises
    ------
    FeaturePathsError
        If the artefact cannot be read or the split is empty.
    """
    with open_hdf5(path) as file:
        (rows,) = np.nonzero(file["split"][:] == split.encode())
        if len(rows) == 0:
            raise FeaturePathsError(f"{path} has no {split} images: set data.calibration above 0.")
        rows = rows[evenly_spaced(len(rows), limit)]
        yield Split(file["images"], file["labels"][:][rows], rows, class_names_in(file))


def evenly_spaced(count: int, limit: int | None) -> np.ndarray:
    """Return the ascending positions of `limit` of `count` images, of all if there are fewer or `limit` is None."""
    limit = count if limit is None else min(limit, count)
    return np.arange(limit) * count // max(limit, 1)


def normalisation(images: Split | np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of uint8 images [N, H, W, C], in values of [0, 1]."""
    levels = np.arange(256) / 255
    counts = np.zeros((images.shape[3], 256), np.int64)
    for start in range(0, images.shape[0], CHUNK):
        chunk = images[start : start + CHUNK]
        for channel, count in enumerate(counts):
            count += np.bincount(chunk[..., channel].ravel(), minlength=256)
    means = [float(count @ levels / count.sum()) for count in counts]
    variances = [count @ (levels - mean) ** 2 / (count.sum() - 1) for count, mean in zip(counts, means, strict=True)]
    # a constant channel is only shifted
    return means, [float(np.sqrt(variance)) or 1.0 for variance in variances]


def class_names_in(file: h5py.File) -> list[str]:
    """Return the names of the classes of an open artefact of images."""
    return [name.decode() for name in file["class_names"][:]]
