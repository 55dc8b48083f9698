"""Data sets as one artefact: images, labels, and which split each image belongs to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.progress import progress
from featurepaths.store.hdf5 import create_hdf5, open_hdf5, write_rows
from featurepaths.store.origin import Origin

SPLITS = ("train", "calibration", "test")
CHUNK = 1024
"""Images read or written at a time."""


class ImageRows(Protocol):
    """Images [N, H, W, C] that are there, or read when an array of row numbers asks for them: uint8."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


Parts = Mapping[str, tuple[ImageRows, np.ndarray]]
"""Images and labels [N] of ``train`` and of ``test``."""


@dataclass(frozen=True)
class Split:
    """Images of one split of an open artefact, read from the disk when rows of them are asked for.

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
        chosen = self.indices[rows]
        if len(chosen) and chosen[-1] - chosen[0] == len(chosen) - 1:  # HDF5 reads a run of rows faster
            return self.dataset[chosen[0] : chosen[-1] + 1]
        return self.dataset[chosen]


def write_splits(
    path: Path,
    parts: Parts,
    class_names: list[str],
    calibration: float,
    seed: int,
    origin: Origin,
    provenance: str,
) -> dict[str, int]:
    """Cut the calibration images from the training images, write all splits, and return the size of each.

    Images are read and written `CHUNK` at a time.

    Parameters
    ----------
    calibration
        Share of each class's training images that become the calibration split; 0 for none.
    seed
        Decides which ones.
    provenance
        Where the images come from, to be stored with them.

    Raises
    ------
    FeaturePathsError
        If a class has no image in a split, or an image cannot be read.
    """
    labels = {part: found for part, (_, found) in parts.items()}
    rows = {
        "train": np.arange(len(labels["train"])),
        "calibration": np.arange(0),
        "test": np.arange(len(labels["test"])),
    }
    if calibration > 0:
        train_and_calibration = cut_off(rows["train"], labels["train"], calibration, seed, "data.calibration")
        rows["train"], rows["calibration"] = map(np.sort, train_and_calibration)
    part_of = {"train": "train", "calibration": "train", "test": "test"}
    split_labels = {name: labels[part_of[name]][rows[name]] for name in SPLITS}
    for name, found in split_labels.items():
        missing = sorted(set(range(len(class_names))) - set(found.tolist()))
        if missing and (name != "calibration" or calibration > 0):
            raise FeaturePathsError(f"The {name} split has no image of class {class_names[missing[0]]}.")
    sizes = {name: len(rows[name]) for name in SPLITS}
    chunks = [(name, start) for name in SPLITS for start in range(0, sizes[name], CHUNK)]
    with create_hdf5(path, origin) as file:
        file.attrs["provenance"] = provenance
        file["labels"] = np.concatenate([split_labels[name] for name in SPLITS]).astype(np.int64)
        file["split"] = np.repeat(np.array(SPLITS, dtype="S11"), list(sizes.values()))
        file["class_names"] = np.array(class_names, dtype=object)
        written = 0
        for name, start in progress(chunks, "images", len(chunks), f"blocks of {CHUNK}"):
            images, _ = parts[part_of[name]]
            chunk = images[rows[name][start : start + CHUNK]]
            write_rows(file, slice(written, written + len(chunk)), sum(sizes.values()), {"images": chunk})
            written += len(chunk)
    return sizes


def cut_off(rows: np.ndarray, labels: np.ndarray, share: float, seed: int, key: str) -> list[np.ndarray]:
    """Cut `share` of the rows [N] of every class off and return both parts; `key` is what to name in an error."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(rows, test_size=share, stratify=labels, random_state=seed)
    except ValueError as error:
        raise FeaturePathsError(f"{key}: {share:g} of {len(rows)} images cannot be cut off ({error}).") from error


@contextmanager
def open_split(path: Path, split: str, limit: int | None = None) -> Iterator[Split]:
    """Open the artefact at `path` and give the images of one split, or `limit` of them, evenly spaced.

    Raises
    ------
    FeaturePathsError
        If the artefact cannot be read, or has no image of that split.
    """
    with open_hdf5(path) as file:
        (rows,) = np.nonzero(file["split"][:] == split.encode())
        if len(rows) == 0:
            raise FeaturePathsError(f"{path} has no {split} images: set data.calibration above 0.")
        if limit is not None and limit < len(rows):
            rows = rows[np.arange(limit) * len(rows) // limit]
        yield Split(file["images"], file["labels"][:][rows], rows, class_names_in(file))


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
    # a channel that is everywhere the same is only shifted
    return means, [float(np.sqrt(variance)) or 1.0 for variance in variances]


def class_names_in(file: h5py.File) -> list[str]:
    """Return the names of the classes of an open artefact of images."""
    return [name.decode() for name in file["class_names"][:]]
