"""The decision with a gradient: what attackers put in the place of the hard vote and the hard threshold.

Similarities and scores are measured in units of `TEMPERATURE`. How far an image's similarities to the classes lie apart
depends on pooling and layer (by 0.3, or by 0.003 where features are averaged), so that no fixed unit fits all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from featurepaths.defense.module import FeaturePathDefense
    from featurepaths.paths.outputs import ModelOutputs

TEMPERATURE = 0.35
"""Temperature of the vote and of the threshold, in standard deviations of an image's similarities to the classes.
Chosen by what libraries' attacks on the views reach: at 0.2 they get past fewer thresholds, at 1 they turn fewer votes.
"""


def soft_logits(similarity: Tensor) -> Tensor:
    """Return similarities [..., C] to the classes in units of `TEMPERATURE`: as logits; differentiable."""
    return similarity / _unit(similarity)


def soft_vote(similarity: Tensor, layers: Sequence[int], weights: np.ndarray) -> Tensor:
    """Return log-probabilities [N, C] of a vote in which every layer shares its weight out; differentiable.

    Parameters
    ----------
    similarity
        Similarities [N, L, C].
    layers, weights
        The voting layers, numbered from 1, and the weight of each: see `featurepaths.defense.votes.vote`.
    """
    chosen = torch.as_tensor(layers, device=similarity.device) - 1
    ballots = soft_logits(similarity[:, chosen]).softmax(dim=2)
    return torch.einsum("nlc,l->nc", ballots, torch.as_tensor(weights).to(similarity)).clamp_min(1e-12).log()


def soft_margin(defense: FeaturePathDefense, seen: ModelOutputs) -> Tensor:
    """Return how far each image's score lies above the threshold, in units of `TEMPERATURE`: [N]; differentiable."""
    chosen = defense.calibration
    weights = torch.as_tensor(chosen.weights).to(seen.similarity).unsqueeze(1)
    aggregated = (seen.similarity[:, torch.as_tensor(chosen.layers) - 1] * weights).sum(dim=1)
    margin = (defense.score_of(seen) - chosen.threshold).to(aggregated)
    return margin / _unit(aggregated).squeeze(1)


def _unit(similarity: Tensor) -> Tensor:
    """Return the unit of similarities [..., C], [..., 1]: without a gradient, for attackers gain nothing from it."""
    return TEMPERATURE * similarity.detach().std(dim=-1, keepdim=True).clamp_min(1e-6)
