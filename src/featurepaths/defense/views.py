"""The whole defence as networks that any attack library can attack: recognition with C logits, detection with C + 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.attacks.losses import above_zero
from featurepaths.defense.decision import soft_margin, soft_vote
from featurepaths.paths.outputs import ModelOutputs

if TYPE_CHECKING:
    from featurepaths.defense.module import FeaturePathDefense

LOGIT_MARGIN = 1e-3
"""How far an answer is put above the rest, relative to the greatest logit (at least to 1)."""


class View(nn.Module):
    """A defence as a network: subclasses say which logits [N, K], and which answers [N] are to be the greatest of them.

    A constant makes each image's smallest logit 1 (see `featurepaths.attacks.losses.above_zero`). An image that is
    not finite, or of which the network shows something that is not, has logits NaN, as with any network; the others of
    its batch have theirs. Like the defence it stays in evaluation mode.
    """

    def __init__(self, defense: FeaturePathDefense):
        super().__init__()
        self.defense = defense
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images [N, C, H, W] in [0, 1]: [N, K], the smallest of each row 1."""
        seen, finite = self.defense.look(images)
        seen = seen.blanked(~finite)  # which detectors refuse, and with them the rest of the batch
        logits = force_argmax(
            above_zero(self.soft(seen)), self.answers(seen)
        )  # last: what lifts is relative to the greatest
        return logits + torch.where(finite, 0.0, torch.nan).unsqueeze(1)

    def soft(self, seen: ModelOutputs) -> Tensor:
        """Return the logits of the formula, [N, K], before any answer is lifted."""
        raise NotImplementedError

    def answers(self, seen: ModelOutputs) -> Tensor:
        """Return what the defence answers, numbers of logits [N]."""
        raise NotImplementedError


class RecogniserView(View):
    r"""Logits [N, C] whose greatest is the label of the whole method, differentiable in everything that decides it.

    With p the network's probabilities, v those of the soft vote and :math:`g = \sigma(m)`, m being how far the score
    lies above the threshold (`soft_margin`), they are :math:`\log(g p + (1 - g) v)`, and a constant (see `View`). Near
    the threshold, and where the hard vote is close, that may name another class than the method does; then a constant
    lifts the method's above the rest. So what a library reports of this view is what the method answers; the gradient
    is the formula's.
    """

    def soft(self, seen: ModelOutputs) -> Tensor:
        """Return the logits of the formula, [N, C], before any answer is lifted: log-probabilities."""
        chosen = self.defense.calibration
        margin = soft_margin(self.defense, seen).unsqueeze(1)
        votes = soft_vote(seen.similarity, chosen.voting_layers, chosen.voting_weights)
        kept = F.logsigmoid(margin) + F.log_softmax(seen.logits, dim=1)
        return torch.logaddexp(kept, F.logsigmoid(-margin) + votes)

    def answers(self, seen: ModelOutputs) -> Tensor:
        """Return the method's labels [N]."""
        return torch.from_numpy(self.defense.decide(seen).labels).to(seen.logits.device)


class DetectorView(View):
    r"""Logits [N, C + 1]: the network's z, and for "adversarial" :math:`\max_c z_c - m`, m as in `RecogniserView`.

    To all of them a constant is added: see `View`. The last is the greatest where the image is flagged. (Carlini and
    Wagner, AISec 2017, join classifier and detector likewise, by a product.) An untargeted attack takes being flagged
    for success: let attacks aim at a class, or let their loss count the last one with the true class.
    """

    def soft(self, seen: ModelOutputs) -> Tensor:
        """Return the logits of the formula, [N, C + 1]; only rounding, at the threshold, makes their greatest wrong."""
        adversarial = seen.logits.amax(dim=1) - soft_margin(self.defense, seen)
        return torch.cat([seen.logits, adversarial.unsqueeze(1)], dim=1)

    def answers(self, seen: ModelOutputs) -> Tensor:
        """Return the network's labels [N], and C where the image is flagged."""
        decision = self.defense.decide(seen)
        labels = torch.from_numpy(decision.network_predictions).to(seen.logits.device)
        flagged = torch.from_numpy(decision.flagged).to(seen.logits.device)
        return torch.where(flagged, seen.logits.shape[1], labels)


def force_argmax(logits: Tensor, answers: Tensor) -> Tensor:
    """Return logits [N, K] whose greatest is that of `answers` [N]; gradients stay what they were."""
    answers = answers.unsqueeze(1)
    best = logits.detach().amax(dim=1, keepdim=True)
    missing = best + LOGIT_MARGIN * best.abs().clamp_min(1) - logits.detach().gather(1, answers)
    agrees = logits.argmax(dim=1, keepdim=True) == answers
    return logits.scatter_add(1, answers, torch.where(agrees, 0, missing))
