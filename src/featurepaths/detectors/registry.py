"""All detectors by name: fit, save, load."""

from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from featurepaths.detectors.base import Detector, DetectorInputs, LayerDetector
from featurepaths.detectors.confidence import Confidence, Energy, TwoSidedConfidence
from featurepaths.detectors.density import PathDensity, Transport
from featurepaths.detectors.feature_paths import SMax
from featurepaths.detectors.mahalanobis import Mahalanobis
from featurepaths.detectors.nearest_neighbours import NearestNeighbours
from featurepaths.errors import FeaturePathsError
from featurepaths.store.hdf5 import open_hdf5

FOLDS = 5
DETECTORS: dict[str, Callable[..., Detector]] = {
    detector.name: detector
    for detector in (Confidence, Energy, TwoSidedConfidence, Mahalanobis, NearestNeighbours, Transport, PathDensity)
}
"""Detector classes by name; those that read layers are called with their numbers, ``layers=[1, 2]``."""


def save(detector: Detector) -> dict[str, np.ndarray]:
    """Return all fitted parameters of a detector, as arrays by name."""
    arrays = {name: values.detach().cpu().numpy() for name, values in detector.state_dict().items()}
    if isinstance(detector, LayerDetector):
        arrays |= {"layers": np.array(detector.layers), "channels": np.array(detector.channels)}
    return arrays


def load(name: str, arrays: Mapping[str, np.ndarray]) -> Detector:
    """Return the detector `name` with the arrays that `save` returned, on the CPU.

    Raises
    ------
    FeaturePathsError
        If there is no such detector.
    """
    classes = {SMax.name: SMax, **DETECTORS}
    if name not in classes:
        raise FeaturePathsError(f"There is no detector {name!r}. Available: {', '.join(classes)}.")
    detector = classes[name]()
    for path, values in arrays.items():
        if path in ("layers", "channels"):
            setattr(detector, path, [int(number) for number in values])
            continue
        module, _, buffer = path.rpartition(".")
        detector.get_submodule(module).register_buffer(buffer, torch.from_numpy(np.array(values)))
    return detector


def read_detector(group: h5py.Group) -> Detector:
    """Return a calibrated detector from its group of the artefact: name in ``kind``, parameters in ``learned``."""
    return load(group.attrs["kind"], {name: values[:] for name, values in group["learned"].items()})


def read_detectors(path: Path | str, device: torch.device | str = "cpu") -> dict[str, tuple[Detector, float]]:
    """Return the calibrated detectors in a run's ``detectors/<pooling>.h5`` by name, each with its scores' scale."""
    with open_hdf5(Path(path)) as file:
        return {name: (read_detector(group).to(device), float(group.attrs["scale"])) for name, group in file.items()}


def cross_fitted_scores(detector: Detector, calibration: DetectorInputs, labels: Tensor, folds: int = FOLDS) -> Tensor:
    """Return scores of calibration images by a detector calibrated without them, float64 [N].

    Images are ordered by their `labels` [N], those of a class in their given order, and dealt to the folds in turn.
    Each fold is scored by the detector calibrated on the others, so it must be calibrated again afterwards.

    Parameters
    ----------
    detector
        Already fitted to the training images.

    Raises
    ------
    FeaturePathsError
        If there are fewer images than folds, or a score is not finite.
    """
    count = len(labels)
    if count < folds:
        raise FeaturePathsError(f"{count} calibration images cannot be cut into {folds}: set data.calibration higher.")
    fold = torch.empty_like(labels)
    fold[labels.argsort(stable=True)] = torch.arange(count).to(labels) % folds
    scores = torch.empty(count, dtype=torch.float64, device=calibration.logits.device)
    with torch.no_grad():
        for number in range(folds):
            detector.calibrate(calibration.take(fold != number))
            left_out = detector.score_samples(calibration.take(fold == number))
            scores[fold == number] = detector.check_finite(left_out, "score")
    return scores
