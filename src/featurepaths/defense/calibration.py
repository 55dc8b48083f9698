"""The calibration of a defence: the parameters of its decision, read from a run, and the selection of voting layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featurepaths.defense.recognition import nearest_classes
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.records import FeaturePaths
from featurepaths.store.jsonfile import read_json

MIDDLE_LAYERS = (2, 3, 4)
"""The paper's voting layers."""


@dataclass(frozen=True)
class Calibration:
    """The parameters of the decision: layers are numbered from 1; an image scoring below `threshold` is flagged."""

    layers: Sequence[int]
    weights: np.ndarray
    threshold: float
    voting_layers: Sequence[int]
    voting_weights: np.ndarray
    tie_break: str = "last-layer"


def read_calibration(threshold: Path, selection: Path, tie_break: str, threshold_method: str = "otsu") -> Calibration:
    """Return the calibration in the artefacts of a run's threshold and voting layers.

    Raises
    ------
    FeaturePathsError
        If threshold or voting layers are not held out, or the artefact has no threshold by that method.
    """
    detector, voters = read_json(threshold), read_json(selection)
    for path, content in ((threshold, detector), (selection, voters)):
        if content["protocol"] != "held-out":
            raise FeaturePathsError(f"{path} is of protocol {content['protocol']}; a frozen defence needs held-out.")
    thresholds = detector["thresholds"]
    if threshold_method not in thresholds:
        raise FeaturePathsError(f"{threshold} has no threshold {threshold_method}; use one of {', '.join(thresholds)}.")
    weights, voting_weights = np.array(detector["weights"]), np.array(voters["weights"])
    threshold_value = thresholds[threshold_method]
    return Calibration(detector["layers"], weights, threshold_value, voters["layers"], voting_weights, tie_break)


def middle_layers(count: int) -> list[int]:
    """Return those of `MIDDLE_LAYERS` that a network of `count` layers has."""
    return [layer for layer in MIDDLE_LAYERS if layer <= count]


def layer_accuracy(paths: FeaturePaths) -> np.ndarray:
    """Return the accuracy of each layer's nearest centroid alone: [L]."""
    return accuracy_of_votes(paths.map_rows(nearest_classes), paths.labels)


def accuracy_of_votes(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of images whose class, `labels` [N], each layer votes for, by votes [N, L]: [L]."""
    return (votes == labels[:, None]).mean(axis=0)


def best_layers(adversarial_accuracy: np.ndarray, count: int) -> list[int]:
    """Return the `count` layers with the greatest adversarial accuracy [L], numbered from 1 and in ascending order.

    This is the paper's selection of L' layers (section 2.3). Of equal layers the earlier one is selected, because
    attacks move the later ones.
    """
    order = np.argsort(-adversarial_accuracy, kind="stable")[:count]
    return sorted(int(layer) + 1 for layer in order)
