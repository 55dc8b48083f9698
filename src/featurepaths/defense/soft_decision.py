"""The soft decision of the defence, with a gradient, and the whole defence as networks that any library can attack.

The soft vote and the soft margin measure similarities and scores in units of `TEMPERATURE`. The spread of an image's
similarities to the classes depends on pooling and layer (0.3, or 0.003 where features are averaged), so that no fixed
unit fits all. The views make logits of them: recognition has C, detection C + 1.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.attacks.losses import above_zero
from featurepaths.defense.recognition import Calibration, Decision, decide
from featurepaths.paths.outputs import ModelOutputs

TEMPERATURE = 0.35
"""Temperature of the vote and of the threshold, in standard deviations of an image's similarities to the classes. It
was set by the success of libraries' attacks on the views: at 0.2 they pass fewer thresholds, at 1 they change fewer
votes.
"""
LOGIT_MARGIN = 1e-3
"""Margin of the forced greatest logit above the others, relative to the greatest of them (at least to 1)."""


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


class View(nn.Module):
    """A `FeaturePathDefense` as a network: subclasses define logits [N, K], and which of them are the greatest [N].

    A constant makes each image's smallest logit 1 (see `featurepaths.attacks.losses.above_zero`). The logits of an
    image that is not finite, or whose model outputs are not, are NaN, as with any network; the other images of its
    batch are unaffected. Like the defence, a view stays in evaluation mode.
    """

    def __init__(self, defense: nn.Module):
        super().__init__()
        self.defense = defense
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images [N, C, H, W] in [0, 1]: [N, K], the smallest of each row 1."""
        outputs, finite = self.defense.outputs_and_finite(images)
        outputs = outputs.blanked(~finite)
        logits = above_zero(self.soft(outputs))
        answers = self.answers(decide(outputs, self.defense.calibration), logits.shape[1] - 1)
        # last, because the margin is relative to the greatest logit
        logits = force_argmax(logits, torch.from_numpy(answers).to(logits.device))
        return logits + torch.where(finite, 0.0, torch.nan).unsqueeze(1)

    def soft(self, outputs: ModelOutputs) -> Tensor:
        """Return the logits of the formula, [N, K], before any of them is raised."""
        raise NotImplementedError

    def answers(self, decision: Decision, last: int) -> np.ndarray:
        """Return the numbers [N], from 0 to `last`, of the logits that stand for the defence's decision."""
        raise NotImplementedError


class RecogniserView(View):
    r"""Logits [N, C] whose greatest is the prediction of the whole method; differentiable in all that determines it.

    With p the network's probabilities, v those of the soft vote and :math:`g = \sigma(m)`, where m is the margin of the
    score above the threshold (`soft_margin`), they are :math:`\log(g p + (1 - g) v)` plus a constant (see `View`). Near
    the threshold, and where the hard vote is close, the formula may name another class than the method; a constant then
    raises the method's class above the others. A library therefore reports what the method predicts, and follows the
    gradient of the formula.
    """

    def soft(self, outputs: ModelOutputs) -> Tensor:
        """Return the logits of the formula, [N, C], before any of them is raised: log-probabilities."""
        calibration = self.defense.calibration
        margin = soft_margin(outputs, calibration).unsqueeze(1)
        votes = soft_vote(outputs.similarity, calibration.voting_layers, calibration.voting_weights)
        of_network = F.logsigmoid(margin) + F.log_softmax(outputs.logits, dim=1)
        return torch.logaddexp(of_network, F.logsigmoid(-margin) + votes)

    def answers(self, decision: Decision, last: int) -> np.ndarray:
        """Return the method's predictions [N]."""
        return decision.prediction


class DetectorView(View):
    r"""Logits [N, C + 1]: the network's z, and for "adversarial" :math:`\max_c z_c - m`, m as in `RecogniserView`.

    A constant is added to all of them: see `View`. The last one is the greatest if the image is flagged. (Carlini and
    Wagner, AISec 2017, join classifier and detector likewise, by a product.) An untargeted attack counts being flagged
    as success: use a targeted attack, or a loss that counts the last class with the true class.
    """

    def soft(self, outputs: ModelOutputs) -> Tensor:
        """Return the logits of the formula, [N, C + 1]; their greatest is wrong only by rounding at the threshold."""
        adversarial = outputs.logits.amax(dim=1) - soft_margin(outputs, self.defense.calibration)
        return torch.cat([outputs.logits, adversarial.unsqueeze(1)], dim=1)

    def answers(self, decision: Decision, last: int) -> np.ndarray:
        """Return the network's predictions [N], and `last` where the image is flagged."""
        return np.where(decision.flagged, last, decision.network_prediction)


def force_argmax(logits: Tensor, answers: Tensor) -> Tensor:
    """Return logits [N, K] whose greatest is that of `answers` [N]; gradients do not change."""
    answers = answers.unsqueeze(1)
    best = logits.detach().amax(dim=1, keepdim=True)
    missing = best + LOGIT_MARGIN * best.abs().clamp_min(1) - logits.detach().gather(1, answers)
    agrees = logits.argmax(dim=1, keepdim=True) == answers
    return logits.scatter_add(1, answers, torch.where(agrees, 0, missing))
