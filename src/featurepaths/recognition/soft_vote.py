"""The vote of layers with a gradient: what attackers put in the place of the hard one."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

TEMPERATURE = 0.05
"""Similarities and scores in [-1, 1] are divided by it where they stand for logits."""


def soft_vote(
    similarity: Tensor, layers: Sequence[int], weights: np.ndarray, temperature: float | Tensor = TEMPERATURE
) -> Tensor:
    """Return log-probabilities [N, C] of a vote in which every layer shares its weight out; differentiable.

    Parameters
    ----------
    similarity
        Similarities [N, L, C].
    layers, weights
        The voting layers, numbered from 1, and the weight of each: see `featurepaths.recognition.votes.vote`.
    temperature
        What similarities are divided by before each layer's softmax: a number, or one for every image and layer,
        [N, L, 1].
    """
    chosen = torch.as_tensor(layers, device=similarity.device) - 1
    ballots = (similarity / temperature)[:, chosen].softmax(dim=2)
    return torch.einsum("nlc,l->nc", ballots, torch.as_tensor(weights).to(similarity)).clamp_min(1e-12).log()
