"""Objectives of attackers who know the whole defence: the losses, success criteria and steps of their searches.

A loss is a function of model outputs, the defence's calibration, labels [N], target classes [N] (None: any wrong class)
and the name ``ce`` or ``dlr``; it returns the value to maximize [N], differentiable. Its conditions saturate: once a
condition is met by a margin, only the others move the image.

Each entry of `OBJECTIVES` is a loss, a criterion of success and, for `selective` and `orthogonal`, the direction that
replaces the loss's gradient. `AdaptiveObjective` turns an entry into an objective of `featurepaths.attacks.apgd`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from featurepaths.attacks.losses import column, dlr, log_odds, targeted_dlr
from featurepaths.attacks.objective import defined_only, misclassified
from featurepaths.defense.module import FeaturePathDefense
from featurepaths.defense.recognition import Calibration, decide
from featurepaths.defense.soft_decision import soft_logits, soft_margin, soft_vote
from featurepaths.paths.outputs import ModelOutputs

MARGIN = 0.1
"""The margin beyond a threshold from which a condition counts as met."""
RATIO_UNIT = 0.05
"""The difference of logits ratio lies in [-1, 1]; it is divided by this so that it compares with log-odds."""


# Losses


def misclassification_loss(
    logits: Tensor, labels: Tensor, targets: Tensor | None, loss: str, *, saturate: bool = True
) -> Tensor:
    """Return a loss [N] that grows until logits [N, C] are surely misclassified, or on, unless `saturate`.

    ``ce`` is `featurepaths.attacks.losses.log_odds`; ``dlr`` is the difference of logits ratio, targeted if there are
    targets, in units of `RATIO_UNIT`.

    Raises
    ------
    FeaturePathsError
        If there are too few classes for ``dlr``: three, or four with targets.
    """
    if loss == "ce":
        wanted = 1 if targets is not None else logits.shape[1] - 1
        # the greatest of n wanted logits is at least their log-sum less log(n)
        value, bound = log_odds(logits, labels, targets), math.log(wanted) + MARGIN
    else:
        ratio = dlr(logits, labels) if targets is None else targeted_dlr(logits, labels, targets)
        value, bound = ratio / RATIO_UNIT, MARGIN
    return value.clamp_max(bound) if saturate else value


def misclassify(
    outputs: ModelOutputs, calibration: Calibration, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """Misclassify the image, whatever the defence decides: the strongest attack on the undefended network."""
    return misclassification_loss(outputs.logits, labels, targets, loss)


def evade(outputs: ModelOutputs, calibration: Calibration, labels: Tensor, targets: Tensor | None, loss: str) -> Tensor:
    """Misclassify the image and keep its score above the threshold."""
    above = soft_margin(outputs, calibration).clamp_max(MARGIN)
    return misclassification_loss(outputs.logits, labels, targets, loss) + above


def misvote(
    outputs: ModelOutputs, calibration: Calibration, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """Have the image flagged and the vote wrong; a soft vote replaces the hard one, which has no gradient."""
    votes = soft_vote(outputs.similarity, calibration.voting_layers, calibration.voting_weights)
    below = (-1 * soft_margin(outputs, calibration)).clamp_max(MARGIN)
    return misclassification_loss(votes, labels, targets, loss) + below


def match_features(
    outputs: ModelOutputs, calibration: Calibration, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """Move the path to that of a wrong class in every layer, and misclassify the image."""
    similarity = soft_logits(outputs.similarity)
    layers = [
        misclassification_loss(similarity[:, layer], labels, targets, loss, saturate=False)
        for layer in range(similarity.shape[1])
    ]
    return torch.stack(layers).mean(dim=0) + misclassification_loss(outputs.logits, labels, targets, loss)


# Criteria of success


def network_is_wrong(outputs: ModelOutputs, calibration: Calibration, labels: Tensor) -> Tensor:
    """Return whether the network's prediction is wrong [N]."""
    return misclassified(outputs.logits, labels)


def defense_is_wrong(outputs: ModelOutputs, calibration: Calibration, labels: Tensor) -> Tensor:
    """Return whether the prediction of the whole method is wrong [N]."""
    return torch.from_numpy(decide(outputs, calibration).prediction).to(labels.device) != labels


# Directions of alternating searches (Bryniarski et al., 2021). The published code lets an inner loop overwrite the
# counter of its schedule, ignores class 0 as a target and never evaluates its last iterate. Here each image and step
# decides between the two conditions, and AutoPGD evaluates every iterate.


def selective(step: Tensor, other: Tensor) -> Tensor:
    """Follow the gradient of one condition [N, d]: misclassification, or the score once the image is misclassified."""
    return step


def orthogonal(step: Tensor, other: Tensor) -> Tensor:
    """Follow the gradient of one condition [N, d], as `selective`, without its component along the other's."""
    defined = step.isfinite() & other.isfinite()
    direction, normal = step.where(defined, 0), other.where(defined, 0)
    along = (direction * normal).sum(dim=1, keepdim=True) / (normal * normal).sum(dim=1, keepdim=True).clamp_min(1e-30)
    return torch.where(defined, direction - along * normal, torch.nan)


class ObjectiveSpec(NamedTuple):
    """An objective: its loss, its criterion of success, and the direction that replaces the gradient, if any."""

    loss: Callable[[ModelOutputs, Calibration, Tensor, Tensor | None, str], Tensor]
    criterion: Callable[[ModelOutputs, Calibration, Tensor], Tensor] = defense_is_wrong
    direction: Callable[[Tensor, Tensor], Tensor] | None = None


OBJECTIVES = {
    "evade": ObjectiveSpec(evade),
    "misvote": ObjectiveSpec(misvote),
    "match-features": ObjectiveSpec(match_features),
    "selective": ObjectiveSpec(evade, direction=selective),
    "orthogonal": ObjectiveSpec(evade, direction=orthogonal),
}
"""The objectives against the defence, by their name in the configuration."""
NETWORK_OBJECTIVE = "misclassify"
"""The objective against the network alone."""
ALL_OBJECTIVES = {NETWORK_OBJECTIVE: ObjectiveSpec(misclassify, network_is_wrong)} | OBJECTIVES


@dataclass(frozen=True)
class AdaptiveObjective:
    """An objective of `ALL_OBJECTIVES` with a loss, ``ce`` or ``dlr``, and target classes [N] (None: any wrong class).

    If model outputs are not finite the loss is NaN and the image is not fooled.
    """

    defense: FeaturePathDefense
    objective: str
    loss: str
    targets: Tensor | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss [N], and whether the attack succeeds [N]."""
        spec, calibration = ALL_OBJECTIVES[self.objective], self.defense.calibration
        outputs, finite = self.defense.outputs_and_finite(images)
        fooled = spec.criterion(outputs, calibration, labels)
        value = spec.loss(outputs, calibration, labels, self.targets, self.loss)
        if spec.direction is not None and torch.is_grad_enabled() and images.requires_grad:
            value = _WithGradient.apply(
                value.detach(), images, self._direction(spec.direction, outputs, images, labels)
            )
        return defined_only(value, fooled, finite)

    def _direction(self, direction: Callable, outputs: ModelOutputs, images: Tensor, labels: Tensor) -> Tensor:
        """Return the direction [N, d] by the gradients of misclassification and score."""
        calibration = self.defense.calibration
        parts = (
            misclassification_loss(outputs.logits, labels, self.targets, self.loss, saturate=False),
            outputs.s_max(calibration.layers, calibration.weights),
        )
        to_wrong, to_above = (
            torch.autograd.grad(part.sum(), images, retain_graph=True)[0].flatten(1) for part in parts
        )
        wrong = misclassified(outputs.logits, labels).unsqueeze(1)
        return direction(torch.where(wrong, to_above, to_wrong), torch.where(wrong, to_wrong, to_above))


@dataclass(frozen=True)
class DetectorObjective:
    """An objective against a detector alone: misclassify the image with the greatest score.

    An image is fooled if it is misclassified. Of all iterates that fool, ``max-loss`` keeps that of the best score, so
    that one search determines for every threshold whether it is evaded.

    Parameters
    ----------
    defense
        The defence whose model outputs the detector reads.
    score
        The detector's score, [N], of model outputs; low when adversarial.
    scale
        The unit of the score, such as its standard deviation over clean images.
    """

    defense: FeaturePathDefense
    score: Callable[[ModelOutputs], Tensor]
    scale: float

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss [N], and whether the network is wrong [N]."""
        outputs, finite = self.defense.outputs_and_finite(images)
        own = outputs.logits.gather(1, column(labels)).squeeze(1)
        best_other = outputs.logits.scatter(1, column(labels), -torch.inf).amax(dim=1)
        missing = (best_other - own - MARGIN).clamp_max(0)
        value = self.score(outputs) / self.scale + missing
        return defined_only(value, misclassified(outputs.logits, labels), finite)


class _WithGradient(torch.autograd.Function):
    """Values [N] whose gradient with respect to images [N, ...] is the given one [N, d]."""

    @staticmethod
    def forward(ctx, values: Tensor, images: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient.view_as(images))
        return values.clone()

    @staticmethod
    def backward(ctx, of_values: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, of_values.view(-1, *[1] * (gradient.dim() - 1)) * gradient, None
