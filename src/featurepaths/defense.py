"""The whole defence as one frozen module: the network, its feature paths, the threshold and the vote."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from featurepaths.detection.rivals import SMax
from featurepaths.detection.scores import s_max
from featurepaths.paths.network import PathNetwork
from featurepaths.paths.observed import Observed
from featurepaths.recognition.votes import recognise, vote


@dataclass(frozen=True)
class Calibration:
    """What the defence was calibrated to: layers are numbered from 1; an image scoring below `threshold` is flagged."""

    layers: Sequence[int]
    weights: np.ndarray
    threshold: float
    voting_layers: Sequence[int]
    voting_weights: np.ndarray
    tie: str = "last-layer"


class Decision(NamedTuple):
    """What the defence answers to N images, each [N]: NumPy arrays.

    `network_labels` are the undefended network's, `score` is S_max, `labels` the whole method's.
    """

    network_labels: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    voted: np.ndarray
    labels: np.ndarray


class FeaturePathDefense(nn.Module):
    """The paper's method, detection and recognition, with nothing left to choose.

    Parameters
    ----------
    paths
        The network and its centroids.
    calibration
        Layers, weights, threshold and votes: those of the held-out protocol, where an attacker is to be judged.
    """

    def __init__(self, paths: PathNetwork, calibration: Calibration):
        super().__init__()
        self.paths = paths
        self.calibration = calibration
        self.detector = SMax(calibration.layers, calibration.weights)

    def forward(self, images: Tensor) -> Observed:
        """Return what the network shows of images [N, C, H, W] in [0, 1]; differentiable."""
        return self.paths(images)

    def score(self, seen: Observed) -> Tensor:
        """Return S_max, eq. (5), of each image, float64 [N]; differentiable."""
        return self.detector.score(seen)

    def decide(self, seen: Observed) -> Decision:
        """Return the answer, by the functions that the workflow itself counts with."""
        chosen = self.calibration
        similarity = seen.similarity.detach().cpu().numpy()
        network_labels = seen.logits.detach().argmax(dim=1).cpu().numpy()
        score = s_max(similarity, chosen.layers, chosen.weights)
        flagged = score < chosen.threshold
        voted = vote(similarity, chosen.voting_layers, chosen.voting_weights, chosen.tie)
        return Decision(network_labels, score, flagged, voted, recognise(network_labels, flagged, voted))
