"""The whole defence as networks that any attack library can attack: recognition with C logits, detection with C + 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.recognition.soft_vote import TEMPERATURE, soft_vote

if TYPE_CHECKING:
    from featurepaths.defense import FeaturePathDefense

ABOVE = 1e-3
"""How far an answer is put above the rest, relative to the greatest logit (at least to 1)."""


class RecogniserView(nn.Module):
    r"""Logits [N, C] whose greatest is the label of the whole method, differentiable in everything that decides it.

    With p the network's probabilities, v those of the soft vote and :math:`g = \sigma((S_{max} - t) / T)`, t being the
    threshold and T the `TEMPERATURE`, they are :math:`\log(g p + (1 - g) v)`. Near the threshold, and where the hard
    vote is close, that may name another class than the method does; then a constant lifts the method's above the rest.
    An example that a library says fools this view therefore fools the method, and the gradient is that of the formula.
    """

    def __init__(self, defense: FeaturePathDefense):
        super().__init__()
        self.defense = defense

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images [N, C, H, W] in [0, 1]."""
        return self.logits_and_soft(images)[0]

    def logits_and_soft(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and what they were before any answer was lifted."""
        seen = self.defense.observe(images)
        chosen = self.defense.calibration
        margin = ((self.defense.score_of(seen) - chosen.threshold) / TEMPERATURE).to(seen.logits).unsqueeze(1)
        kept = F.logsigmoid(margin) + F.log_softmax(seen.logits, dim=1)
        voted = F.logsigmoid(-margin) + soft_vote(seen.similarity, chosen.voting_layers, chosen.voting_weights)
        soft = torch.logaddexp(kept, voted)
        labels = torch.from_numpy(self.defense.decide(seen).labels).to(soft.device)
        return _lifted(soft, labels), soft


class DetectorView(nn.Module):
    r"""Logits [N, C + 1]: the network's z, and for "adversarial" :math:`\max_c z_c + (t - S_{max}) / T`.

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
        margin = ((self.defense.score_of(seen) - self.defense.calibration.threshold) / TEMPERATURE).to(seen.logits)
        adversarial = seen.logits.amax(dim=1) - margin
        decision = self.defense.decide(seen)
        flagged = torch.from_numpy(decision.flagged).to(seen.logits.device)
        answers = torch.where(flagged, seen.logits.shape[1], seen.logits.argmax(dim=1))
        # rounding alone can make the two disagree, at the threshold
        return _lifted(torch.cat([seen.logits, adversarial.unsqueeze(1)], dim=1), answers)


def _lifted(logits: Tensor, answers: Tensor) -> Tensor:
    """Return logits [N, K] whose greatest is that of `answers` [N]; gradients stay what they were."""
    answers = answers.unsqueeze(1)
    best = logits.detach().amax(dim=1, keepdim=True)
    missing = best + ABOVE * best.abs().clamp_min(1) - logits.detach().gather(1, answers)
    agrees = logits.argmax(dim=1, keepdim=True) == answers
    return logits.scatter_add(1, answers, torch.where(agrees, 0, missing))
