"""The calibration of a defence, and its artefacts in a run of the workflow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.store.jsonfile import read_json


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
    if threshold_method not in detector["thresholds"]:
        raise FeaturePathsError(
            f"{threshold} has no threshold {threshold_method}; use one of {', '.join(detector['thresholds'])}."
        )
    return Calibration(
        layers=detector["layers"],
        weights=np.array(detector["weights"]),
        threshold=detector["thresholds"][threshold_method],
        voting_layers=voters["layers"],
        voting_weights=np.array(voters["weights"]),
        tie_break=tie_break,
    )
