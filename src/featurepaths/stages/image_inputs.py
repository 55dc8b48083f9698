"""Images that a network runs over: what the stages that do so share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from featurepaths.data.splits import SPLITS, Split, open_split
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.provenance import read_origin


class Images(NamedTuple):
    """`pixels` of N images, which stay on the disk, their `labels` [N] and their rows in data.h5, `index` [N]."""

    pixels: Split | h5py.Dataset
    labels: np.ndarray
    index: np.ndarray


@contextmanager
def open_images(path: Path, part: str) -> Iterator[Images]:
    """Open images: a split of data.h5, or those examples of an attack that the stopping rule `part` gives."""
    if read_origin(path).name == "data":
        with open_split(path, part) as split:
            yield Images(split, split.labels, split.indices)
    else:
        with open_hdf5(path) as file:
            yield Images(file[part]["adversarial"], file["labels"][:], file["index"][:])


def parts_by_name(path: Path, stopping_rule: str | None) -> dict[str, str]:
    """Return the parts of an artefact by what they are called: a split, or ``<split>.<attack>.<stopping_rule>``."""
    name = read_origin(path).name
    if name == "data":
        return {split: split for split in SPLITS}
    return {f"{name.removeprefix('attacks/')}.{stopping_rule}": stopping_rule}
