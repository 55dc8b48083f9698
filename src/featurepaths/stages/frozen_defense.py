"""A frozen defence and its images, from their files, for the stages that attack it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featurepaths.data.splits import Split, class_names_in, evenly_spaced
from featurepaths.defense.recognition import read_calibration
from featurepaths.errors import FeaturePathsError
from featurepaths.store.hdf5 import as_slice, open_hdf5
from featurepaths.store.provenance import read_origin

if TYPE_CHECKING:  # torch is imported late, so that --help needs none of it
    import torch

    from featurepaths.adaptive.worst_case import Target


class Rows:
    """Some rows, by their ascending positions, of a data set on the disk, read when slices of them are asked for."""

    def __init__(self, dataset: Any, positions: np.ndarray):
        self.dataset, self.positions = dataset, positions

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return a slice of the rows."""
        return self.dataset[as_slice(self.positions[rows])]


def load_target(arguments: Namespace, device: torch.device) -> tuple[Target, Mapping[str, Any], str]:
    """Return the target of the attacks, the checkpoint's description, and the precision of the search.

    Raises
    ------
    FeaturePathsError
        If threshold or voting layers are not held out: an attacker is judged by a defence that never saw its images.
    """
    from featurepaths.adaptive.worst_case import Target
    from featurepaths.attacks.objective import search_and_reference
    from featurepaths.defense.frozen import FrozenDefense
    from featurepaths.detectors.registry import read_detectors
    from featurepaths.networks.checkpoint import layer_names, load_checkpoint
    from featurepaths.networks.forward import resolve_precision
    from featurepaths.paths.outputs import read_centroids

    settings = arguments.settings
    network, description = load_checkpoint(arguments.checkpoint, device)
    precision = resolve_precision(settings.search.precision, device)
    centroids = read_centroids(arguments.centroids, device)
    pooling = read_origin(arguments.centroids).pooling
    layers = layer_names(description)
    calibration = read_calibration(arguments.threshold, arguments.selection, settings.tie_break)

    def defense(network: torch.nn.Module, precision: str) -> FrozenDefense:
        frozen = FrozenDefense(network, layers, pooling, precision=precision)
        return frozen.freeze(centroids, calibration)

    search_model, reference_model = search_and_reference(defense, network, precision)
    detectors = read_detectors(arguments.detectors, device)
    return Target(reference_model or search_model, search_model, detectors), description, precision


@contextmanager
def open_attacked(data: Path, attack: Path, limit: int | None) -> Iterator[tuple[Split, Mapping[str, Rows]]]:
    """Open the images that an attack attacked, or `limit` of them evenly spaced, and its examples by stopping rule."""
    with open_hdf5(data) as file, open_hdf5(attack) as attacked:
        labels, index = attacked["labels"][:], attacked["index"][:]
        positions = evenly_spaced(len(labels), limit)
        split = Split(file["images"], labels[positions], index[positions], class_names_in(file))
        groups = {name: group for name, group in attacked.items() if "adversarial" in getattr(group, "keys", dict)()}
        yield split, {name: Rows(group["adversarial"], positions) for name, group in groups.items()}


@contextmanager
def open_worst(adaptive: Path, indices: np.ndarray) -> Iterator[Rows]:
    """Open the worst examples of the images `indices`, ascending, made against another defence.

    Raises
    ------
    FeaturePathsError
        If there are none of some of them.
    """
    with open_hdf5(adaptive) as file:
        index = file["index"][:]
        if not np.isin(indices, index).all():
            raise FeaturePathsError(f"{adaptive} has no examples of some of the images. Attack the same ones.")
        yield Rows(file["worst/adversarial"], np.searchsorted(index, indices))
