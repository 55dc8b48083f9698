"""The whole defence as networks that any attack library can attack: recognition with C logits, detection with C + 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.paths.observed import Observed
from featurepaths.soft_decision import soft_margin, soft_vote

if TYPE_CHECKING:
    from featurepaths.defense import FeaturePathDefense

ABOVE = 1e-3
"""How far an answer is put above the rest, relative to the greatest logit (at least to 1)."""


class RecogniserView(nn.Module):
    r"""Logits [N, C] whose greatest is the label of the whole method, differentiable in everything that decides it.

    With p the network's probabilities, v those of the soft vote and :math:`g = \sigma(m)`, m being how far the score
    lies above the threshold (`soft_margin`), they are :math:`\log(g p + (1 - g) v)`. Near the threshold, and
    where the hard vote is close, that may name another class than the method does; then a constant lifts the method's
    above the rest. So what a library reports of this view is what the method answers; the gradient is the formula's.
    """

    def __init__(self, defense: FeaturePathDefense):
        super().__init__()
        self.defense = defense

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images [N, C, H, W] in [0, 1]."""
        seen = self.defense.observe(images)
        labels = torch.from_numpy(self.defense.decide(seen).labels).to(seen.logits.device)
        return _lifted(self.soft(seen), labels)

    def soft(self, seen: Observed) -> Tensor:
        """Return the logits of the formula, before any answer is lifted."""
        chosen = self.defense.calibration
        margin = soft_margin(self.defense, seen).unsqueeze(1)
        votes = soft_vote(seen.similarity, chosen.voting_layers, chosen.voting_weights)
        kept = F.logsigmoid(margin) + F.log_softmax(seen.logits, dim=1)
        return torch.logaddexp(kept, F.logsigmoid(-margin) + votes)


class DetectorView(nn.Module):
    r"""Logits [N, C + 1]: the network's z, and for "adversarial" :math:`\max_c z_c - m`, m as in `RecogniserView`.

    The last is the greatest where the image is flagged. (Carlini and Wagner, AISec 2017, join classifier and detector
    likewise, by a product.) An untargeted attack takes being flagged for success: let attacks aim at a class, or let
    their loss count the last one with the true class.
    """

    def __init__(self, defense: FeaturePathDefense):
        super().__init__()
        self.defense = defense

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images [N, C, H, W] in [0, 1]."""
        seen = self.defense.observe(images)
        adversarial = seen.logits.amax(dim=1) - soft_margin(self.defense, seen)
        flagged = torch.from_numpy(self.defense.decide(seen).flagged).to(seen.logits.device)
        answers = torch.where(flagged, seen.logits.shape[1], seen.logits.argmax(dim=1))
        # only rounding, at the threshold, can make the two disagree
        return _lifted(torch.cat([seen.logits, adversarial.unsqueeze(1)], dim=1), answers)


def _lifted(logits: Tensor, answers: Tensor) -> Tensor:
    """Return logits [N, K] whose greatest is that of `answers` [N]; gradients stay what they were."""
    answers = answers.unsqueeze(1)
    best = logits.detach().amax(dim=1, keepdim=True)
    missing = best + ABOVE * best.abs().clamp_min(1) - logits.detach().gather(1, answers)
    agrees = logits.argmax(dim=1, keepdim=True) == answers
    return logits.scatter_add(1, answers, torch.where(agrees, 0, missing))
