"""The soft decision of the defence, with a gradient that attacks follow: the vote and the margin above the threshold.

It measures similarities and scores in units of `TEMPERATURE`. The spread of an image's similarities to the classes
depends on pooling and layer (0.3, or 0.003 where features are averaged), so that no fixed unit fits all.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from featurepaths.defense.calibration import Calibration
from featurepaths.paths.outputs import ModelOutputs

TEMPERATURE = 0.35
"""Temperature of the vote and of the threshold, in standard deviations of an image's similarities to the classes. It
was set by the success of libraries' attacks on the views: at 0.2 they pass fewer thresholds, at 1 they change fewer
votes.
"""


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
        The voting layers, numbered from 1, and the weight of each: see `featurepaths.defense.recognition.vote`.
    """
    voting = similarity[:, torch.as_tensor(layers, device=similarity.device) - 1]
    ballots = soft_logits(voting).softmax(dim=2)
    return torch.einsum("nlc,l->nc", ballots, torch.as_tensor(weights).to(similarity)).clamp_min(1e-12).log()


def soft_margin(outputs: ModelOutputs, calibration: Calibration) -> Tensor:
    """Return the margin [N] of S_max above the threshold, in units of `TEMPERATURE`; differentiable."""
    # the unit is that of float32 sums, whose bits attacks depend on
    similarity = outputs.similarity.detach()[:, torch.as_tensor(calibration.layers) - 1]
    class_scores = (similarity * torch.as_tensor(calibration.weights).to(similarity).unsqueeze(1)).sum(dim=1)
    margin = (outputs.s_max(calibration.layers, calibration.weights) - calibration.threshold).to(class_scores)
    return margin / _unit(class_scores).squeeze(1)


def _unit(similarity: Tensor) -> Tensor:
    """Return the unit [..., 1] of similarities [..., C], without a gradient: attacks gain nothing from it."""
    return TEMPERATURE * similarity.detach().std(dim=-1, keepdim=True).clamp_min(1e-6)
