"""A network and the images that it runs over, opened for the stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from featurepaths.data.splits import SPLITS, Split, open_split
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.provenance import read_origin


class Images(NamedTuple):
    """`pixels` of N images, which stay on the disk, their `labels` [N] and their rows in data.h5, `indices` [N]."""

    pixels: Split | h5py.Dataset
    labels: np.ndarray
    indices: np.ndarray


def load_network(arguments):
    """Return the network of ``--checkpoint``, the names of its layers, and the device that it runs on."""
    from featurepaths.networks.checkpoint import layer_names, load_checkpoint
    from featurepaths.runtime.devices import use_device

    device = use_device(arguments.device, arguments.settings.torch_threads)
    network, description = load_checkpoint(arguments.checkpoint, device)
    return network, layer_names(description), device


@contextmanager
def open_images(path: Path, part: str) -> Iterator[Images]:
    """Open images: a split of data.h5, or the examples of an attack at the stopping rule `part`."""
    if read_origin(path).name == "data":
        with open_split(path, part) as split:
            yield Images(split, split.labels, split.indices)
    else:
        with open_hdf5(path) as file:
            yield Images(file[part]["adversarial"], file["labels"][:], file["index"][:])


def part_of(arguments, output: cli.Output) -> str:
    """Return the part of ``--images`` that an output is called after: a split, or an attack's stopping rule.

    Raises
    ------
    FeaturePathsError
        If it is called after other images.
    """
    name, stopping_rule = read_origin(arguments.images).name, arguments.settings.stopping_rule
    parts = {f"{name.removeprefix('attacks/')}.{stopping_rule}": stopping_rule}
    if name == "data":
        parts = {split: split for split in SPLITS}
    if output.names["images"] not in parts:
        raise FeaturePathsError(f"{output.path}: call it {' or '.join(parts)}.h5, after its images.")
    return parts[output.names["images"]]
