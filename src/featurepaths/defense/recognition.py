"""Recognition, section 2.3: the network's prediction, or the vote of layers, eqs. (6) and (7), if flagged.

This module holds `Calibration` (all parameters of the decision), `decide`, `vote` and the selection of voting layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from featurepaths.detectors.thresholds import read_feature_path_detector
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import class_scores, s_max, select_layers
from featurepaths.paths.records import FeaturePaths
from featurepaths.store.jsonfile import read_json

if TYPE_CHECKING:  # stages that vote with stored similarities do not need torch
    from featurepaths.paths.outputs import ModelOutputs

TIE_BREAKS = ("last-layer", "summed-similarity")
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


class Decision(NamedTuple):
    """The defence's decision on N images, NumPy arrays [N].

    `network_prediction` is that of the undefended network, `score` is S_max, `flagged` whether it lies below the
    threshold, `vote` the class of the voting layers, and `prediction` the whole method's: the vote if flagged.
    """

    network_prediction: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    vote: np.ndarray
    prediction: np.ndarray


def decide(outputs: ModelOutputs, calibration: Calibration) -> Decision:
    """Return the decision on a model's outputs: eqs. (5) to (7)."""
    similarity = outputs.similarity.detach().cpu().numpy()
    network_prediction = outputs.logits.detach().argmax(dim=1).cpu().numpy()
    score = s_max(similarity, calibration.layers, calibration.weights)
    flagged = score < calibration.threshold
    votes = vote(similarity, calibration.voting_layers, calibration.voting_weights, calibration.tie_break)
    return Decision(network_prediction, score, flagged, votes, recognise(network_prediction, flagged, votes))


def recognise(network_predictions: np.ndarray, flagged: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return the label of the whole method: the network's, or the vote where an image is flagged (section 2.3)."""
    return np.where(flagged, votes, network_predictions)


def vote(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray, tie_break: str) -> np.ndarray:
    """Return the class of the weighted vote of `layers` for each image, eqs. (6) and (7): int [N].

    Parameters
    ----------
    similarity
        Similarities [N, L, C].
    layers, weights
        The voting layers, numbered from 1 and in ascending order, and the weight of each.
    tie_break
        The rule for classes with equal score. ``last-layer``: the last of the layers that vote for any of them decides,
        as in the paper ("the prediction from the last layer in L'"). ``summed-similarity``: the greatest weighted
        similarity, eq. (3), over the voting layers.
    """
    layer_votes = select_layers(nearest_classes(similarity), layers)
    ballots = layer_votes[:, :, None] == np.arange(similarity.shape[2])  # the indicator of eq. (6)
    tally = np.einsum("nlc,l->nc", ballots.astype(np.float64), weights)  # Score(k) of eq. (6)
    winners = tally >= tally.max(axis=1, keepdims=True) - 1e-9  # sums of the same weights may differ in the last bits
    match tie_break:
        case "summed-similarity":
            preference = class_scores(similarity, layers, weights)
        case "last-layer":  # the position of the last layer that voted for the class
            preference = (ballots * np.arange(1, len(layers) + 1)[:, None]).max(axis=1)
        case _:
            raise ValueError(f"tie_break is {tie_break!r}; use one of {', '.join(TIE_BREAKS)}.")
    return np.where(winners, preference, -np.inf).argmax(axis=1)  # eq. (7)


def nearest_classes(similarity: np.ndarray) -> np.ndarray:
    """Return argmax_m s_m^l of eq. (6), of similarities [N, L, C]: the class each layer votes for, int [N, L]."""
    return similarity.argmax(axis=2)


def read_calibration(threshold: Path, selection: Path, tie_break: str, threshold_method: str = "otsu") -> Calibration:
    """Return the calibration in the artefacts of a run's threshold and voting layers.

    Raises
    ------
    FeaturePathsError
        If threshold or voting layers are not held out, or the artefact has no threshold by that method.
    """
    detector, voters = read_feature_path_detector(threshold), read_json(selection)
    for path, protocol in ((threshold, detector.protocol), (selection, voters["protocol"])):
        if protocol != "held-out":
            raise FeaturePathsError(f"{path} is of protocol {protocol}; a frozen defence needs held-out.")
    if threshold_method not in detector.thresholds:
        methods = ", ".join(detector.thresholds)
        raise FeaturePathsError(f"{threshold} has no threshold {threshold_method}; use one of {methods}.")
    value, voting_weights = detector.thresholds[threshold_method], np.array(voters["weights"])
    return Calibration(detector.layers, detector.weights, value, voters["layers"], voting_weights, tie_break)


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
