"""The decision of the defence: hard, with the workflow's own functions, and soft, with a gradient that attacks follow.

The soft decision measures similarities and scores in units of `TEMPERATURE`. The spread of an image's similarities to
the classes depends on pooling and layer (0.3, or 0.003 where features are averaged), so that no fixed unit fits all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from featurepaths.defense.calibration import Calibration
from featurepaths.defense.votes import recognise, vote
from featurepaths.paths.equations import s_max
from featurepaths.paths.outputs import ModelOutputs

TEMPERATURE = 0.35
"""Temperature of the vote and of the threshold, in standard deviations of an image's similarities to the classes. It
was set by the success of libraries' attacks on the views: at 0.2 they pass fewer thresholds, at 1 they change fewer
votes.
"""


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


def soft_logits(similarity: Tensor) -> Tensor:
    """Return similarities [..., C] to the classes as logits, in units of `TEMPERATURE`; differentiable."""
    return similarity / _unit(similarity)


def soft_vote(similarity: Tensor, layers: Sequence[int], weights: np.ndarray) -> Tensor:
    """Return log-probabilities [N, C] of a vote in which every layer divides its weight among classes; differentiable.

    Parameters
    ----------
    similarity
        Similarities [N, L, C].
    layers, weights
        The voting layers, numbered from 1, and the weight of each: see `featurepaths.defense.votes.vote`.
    """
    voting = similarity[:, torch.as_tensor(layers, device=similarity.device) - 1]
    ballots = soft_logits(voting).softmax(dim=2)
    return torch.einsum("nlc,l->nc", ballots, torch.as_tensor(weights).to(similarity)).clamp_min(1e-12).log()


def soft_margin(outputs: ModelOutputs, calibration: Calibration) -> Tensor:
    """Return the margin [N] of S_max above the threshold, in units of `TEMPERATURE`; differentiable."""
    # the unit is that of float32 sums, whose bits attacks depend on
    similarity = outputs.similarity.detach()[:, torch.as_tensor(calibration.layers) - 1]
    class_scores = (similarity * torch.as_tensor(calibration.weights).to(similarity).unsqueeze(1)).sum(dim=1)
    margin = (tensor_score(outputs, calibration) - calibration.threshold).to(class_scores)
    return margin / _unit(class_scores).squeeze(1)


def tensor_score(outputs: ModelOutputs, calibration: Calibration) -> Tensor:
    """Return S_max, eq. (5), float64 [N]; differentiable."""
    similarity = outputs.similarity[:, torch.as_tensor(calibration.layers) - 1].double()
    weights = torch.as_tensor(calibration.weights, device=similarity.device)
    return torch.einsum("nlc,l->nc", similarity, weights).amax(dim=1)


def _unit(similarity: Tensor) -> Tensor:
    """Return the unit [..., 1] of similarities [..., C], without a gradient: attacks gain nothing from it."""
    return TEMPERATURE * similarity.detach().std(dim=-1, keepdim=True).clamp_min(1e-6)
