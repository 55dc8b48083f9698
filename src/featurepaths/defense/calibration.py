"""What a defence was calibrated to, and where a run of the workflow keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.store.jsonfile import read_json


@dataclass(frozen=True)
class Calibration:
    """What the defence was calibrated to: layers are numbered from 1; an image scoring below `threshold` is flagged."""

    layers: Sequence[int]
    weights: np.ndarray
    threshold: float
    voting_layers: Sequence[int]
    voting_weights: np.ndarray
    tie_break: str = "last-layer"


def read_calibration(threshold: Path, selection: Path, tie_break: str, threshold_method: str = "otsu") -> Calibration:
    """Return what a defence was calibrated to, from its artefacts.

    Raises
    ------
    FeaturePathsError
        If threshold or voting layers are not held out, or there is no threshold by that method.
    """
    detector, voters = read_json(threshold), read_json(selection)
    for path, found in ((threshold, detector), (selection, voters)):
        if found["protocol"] != "held-out":
            raise FeaturePathsError(f"{path} is of protocol {found['protocol']}; a frozen defence needs held-out.")
    if threshold_method not in detector["thresholds"]:
        raise FeaturePathsError(
            f"{threshold} has no threshold {threshold_method}; there are {', '.join(detector['thresholds'])}."
        )
    return Calibration(
        layers=detector["layers"],
        weights=np.array(detector["weights"]),
        threshold=detector["thresholds"][threshold_method],
        voting_layers=voters["layers"],
        voting_weights=np.array(voters["weights"]),
        tie_break=tie_break,
    )
