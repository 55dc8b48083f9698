"""All detectors by name: fit, save, load."""

from collections.abc import Callable, Mapping

import h5py
import numpy as np
import torch
from torch import Tensor

from featurepaths.detectors.base import FOLDS, Detector, DetectorInputs, LayerDetector
from featurepaths.detectors.confidence import Confidence, Energy, TwoSidedConfidence
from featurepaths.detectors.mahalanobis import Mahalanobis
from featurepaths.detectors.nearest_neighbours import NearestNeighbours
from featurepaths.detectors.path_density import PathDensity
from featurepaths.detectors.s_max import SMax
from featurepaths.detectors.transport import Transport
from featurepaths.errors import FeaturePathsError

DETECTORS: dict[str, Callable[..., Detector]] = {
    rival.name: rival
    for rival in (Confidence, Energy, TwoSidedConfidence, Mahalanobis, NearestNeighbours, Transport, PathDensity)
}
"""Detectors by name; those that read layers take which, ``layers=[1, 2]``."""


def save(rival: Detector) -> dict[str, np.ndarray]:
    """Return all that a fitted rival has learned, as arrays by name."""
    arrays = {name: values.detach().cpu().numpy() for name, values in rival.state_dict().items()}
    if isinstance(rival, LayerDetector):
        arrays |= {"layers": np.array(rival.layers), "channels": np.array(rival.channels)}
    return arrays


def load(name: str, arrays: Mapping[str, np.ndarray]) -> Detector:
    """Return the rival `name` that `save` gave these arrays of, on the CPU.

    Raises
    ------
    FeaturePathsError
        If there is no such rival.
    """
    kinds = {SMax.name: SMax, **DETECTORS}
    if name not in kinds:
        raise FeaturePathsError(f"There is no detector {name!r}; there are {', '.join(kinds)}.")
    rival = kinds[name]()
    for path, values in arrays.items():
        if path in ("layers", "channels"):
            setattr(rival, path, [int(number) for number in values])
            continue
        module, _, buffer = path.rpartition(".")
        rival.get_submodule(module).register_buffer(buffer, torch.from_numpy(np.array(values)))
    return rival


def read_detector(group: h5py.Group) -> Detector:
    """Return a calibrated detector from its group of the detectors' artefact: ``kind`` and what it has ``learned``."""
    return load(group.attrs["kind"], {name: values[:] for name, values in group["learned"].items()})


def cross_fitted_scores(rival: Detector, calibration: DetectorInputs, labels: Tensor, folds: int = FOLDS) -> Tensor:
    """Return scores of calibration images by a rival that has not seen them, float64 [N].

    Images are ordered by their `labels` [N], those of a class as they come, and dealt out to the folds in turn. Each
    fold is scored by the rival calibrated on the others: it has to be calibrated again afterwards.

    Parameters
    ----------
    rival
        One that has learned from the training images.

    Raises
    ------
    FeaturePathsError
        If there are fewer images than folds.
    """
    count = len(labels)
    if count < folds:
        raise FeaturePathsError(f"{count} calibration images cannot be cut into {folds}: set data.calibration higher.")
    fold = torch.empty_like(labels)
    fold[labels.argsort(stable=True)] = torch.arange(count).to(labels) % folds
    scores = torch.empty(count, dtype=torch.float64, device=calibration.logits.device)
    with torch.no_grad():
        for number in range(folds):
            rival.calibrate(calibration.take(fold != number))
            scores[fold == number] = rival.score_of(calibration.take(fold == number))
    return scores
