"""Objectives of attackers who know the whole defence: the losses, success criteria and steps of their searches.

A loss is a function of model outputs, the defence's calibration and an `Aim`; it returns the value to maximize [N],
differentiable. Its conditions saturate: once a condition is met by a margin, only the others move the image.

Each entry of `OBJECTIVES` is a loss, a criterion of success and, for `orthogonal`, the direction that replaces the
loss's gradient. `adaptive_objective` turns an entry into an objective of `featurepaths.attacks.apgd`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from featurepaths.attacks.losses import column, dlr, log_odds, targeted_dlr
from featurepaths.attacks.objective import Objective, defined_only, misclassified
from featurepaths.defense.frozen import FrozenDefense
from featurepaths.defense.recognition import Calibration, decide
from featurepaths.defense.soft_decision import soft_logits, soft_margin, soft_vote
from featurepaths.experiment.searches import NETWORK_OBJECTIVE
from featurepaths.paths.outputs import ModelOutputs

MARGIN = 0.1
"""The margin beyond a threshold from which a condition counts as met."""
RATIO_UNIT = 0.05
"""The difference of logits ratio lies in [-1, 1]; it is divided by this so that it compares with log-odds."""


def network_logits(outputs: ModelOutputs, calibration: Calibration) -> Tensor:
    """Return the network's logits [N, C]."""
    return outputs.logits


def vote_scores(outputs: ModelOutputs, calibration: Calibration) -> Tensor:
    """Return the log-probabilities [N, C] of the soft vote, which replaces the hard one in gradients."""
    return soft_vote(outputs.similarity, calibration.voting_layers, calibration.voting_weights)


# Losses


class Aim(NamedTuple):
    """The aim of an attack: labels [N] to leave, target classes [N] (None: any wrong class), and ``ce`` or ``dlr``."""

    labels: Tensor
    targets: Tensor | None
    loss: str

    def misclassification(self, logits: Tensor, *, saturate: bool = True) -> Tensor:
        """Return a loss [N] that grows until logits [N, C] are surely misclassified, or on, unless `saturate`.

        ``ce`` is `featurepaths.attacks.losses.log_odds`; ``dlr`` is the difference of logits ratio, targeted if there
        are targets, in units of `RATIO_UNIT`.

        Raises
        ------
        FeaturePathsError
            If there are too few classes for ``dlr``: three, or four with targets.
        """
        labels, targets, loss = self
        if loss == "ce":
            n_wanted = 1 if targets is not None else logits.shape[1] - 1
            # the greatest of n wanted logits is at least their logsumexp minus log(n)
            value, bound = log_odds(logits, labels, targets), math.log(n_wanted) + MARGIN
        else:
            ratio = dlr(logits, labels) if targets is None else targeted_dlr(logits, labels, targets)
            value, bound = ratio / RATIO_UNIT, MARGIN
        return value.clamp_max(bound) if saturate else value


def misclassify(outputs: ModelOutputs, calibration: Calibration, aim: Aim) -> Tensor:
    """Misclassify the image, whatever the defence decides: the strongest attack on the undefended network."""
    return aim.misclassification(outputs.logits)


def evade(outputs: ModelOutputs, calibration: Calibration, aim: Aim) -> Tensor:
    """Misclassify the image and keep its score above the threshold."""
    return aim.misclassification(outputs.logits) + soft_margin(outputs, calibration).clamp_max(MARGIN)


def misvote(outputs: ModelOutputs, calibration: Calibration, aim: Aim) -> Tensor:
    """Have the image flagged and the vote wrong; a soft vote replaces the hard one, which has no gradient."""
    below = (-1 * soft_margin(outputs, calibration)).clamp_max(MARGIN)
    return aim.misclassification(vote_scores(outputs, calibration)) + below


def match_features(outputs: ModelOutputs, calibration: Calibration, aim: Aim) -> Tensor:
    """Move the path to that of a wrong class in every layer, and misclassify the image."""
    layers = [aim.misclassification(layer, saturate=False) for layer in soft_logits(outputs.similarity).unbind(dim=1)]
    # `mean` adds in an order that depends on N
    return sum(layers) / len(layers) + aim.misclassification(outputs.logits)


# Alternating searches (Bryniarski et al., 2021). The published code lets an inner loop overwrite the counter of its
# schedule, ignores class 0 as a target and never evaluates its last iterate. Here each image and step decides between
# the two conditions, and AutoPGD evaluates every iterate.


def _conditions(outputs: ModelOutputs, calibration: Calibration, aim: Aim) -> tuple[Tensor, Tensor]:
    """Return the condition [N] that a step follows, misclassification or, once it is met, the score; and the other."""
    to_wrong = aim.misclassification(outputs.logits, saturate=False)
    to_above = outputs.s_max(calibration.layers, calibration.weights)
    wrong = misclassified(outputs.logits, aim.labels)
    return torch.where(wrong, to_above, to_wrong), torch.where(wrong, to_wrong, to_above)


def selective(outputs: ModelOutputs, calibration: Calibration, aim: Aim) -> Tensor:
    """Return the value of `evade`, with the gradient of one of its conditions: see `_conditions`."""
    value, (active, _) = evade(outputs, calibration, aim).detach(), _conditions(outputs, calibration, aim)
    return value + (active - active.detach()).to(value)


def orthogonal(images: Tensor, outputs: ModelOutputs, calibration: Calibration, aim: Aim) -> Tensor:
    """Return the gradient [N, d] at images of the active condition without its component along the other's."""
    active, other = (
        torch.autograd.grad(condition.sum(), images, retain_graph=True)[0].flatten(1)
        for condition in _conditions(outputs, calibration, aim)
    )
    defined = active.isfinite() & other.isfinite()
    direction, normal = active.where(defined, 0), other.where(defined, 0)
    along = (direction * normal).sum(dim=1, keepdim=True) / (normal * normal).sum(dim=1, keepdim=True).clamp_min(1e-30)
    return torch.where(defined, direction - along * normal, torch.nan)


# Criteria of success


def network_is_wrong(outputs: ModelOutputs, calibration: Calibration, labels: Tensor) -> Tensor:
    """Return whether the network's prediction is wrong [N]."""
    return misclassified(outputs.logits, labels)


def defense_is_wrong(outputs: ModelOutputs, calibration: Calibration, labels: Tensor) -> Tensor:
    """Return whether the prediction of the whole method is wrong [N]."""
    return torch.from_numpy(decide(outputs, calibration).prediction).to(labels.device) != labels


def detection_is_evaded(outputs: ModelOutputs, calibration: Calibration, labels: Tensor) -> Tensor:
    """Return whether the network's prediction is wrong and the image is not flagged [N]."""
    unflagged = torch.from_numpy(~decide(outputs, calibration).flagged).to(labels.device)
    return unflagged & misclassified(outputs.logits, labels)


class ObjectiveSpec(NamedTuple):
    """An objective: its loss, its criterion of success, and the direction that replaces the gradient, if any.

    Target classes are those of greatest `class_scores` at the clean image.
    """

    loss: Callable[[ModelOutputs, Calibration, Aim], Tensor]
    criterion: Callable[[ModelOutputs, Calibration, Tensor], Tensor] = defense_is_wrong
    direction: Callable[[Tensor, ModelOutputs, Calibration, Aim], Tensor] | None = None
    class_scores: Callable[[ModelOutputs, Calibration], Tensor] = network_logits


OBJECTIVES = {
    "evade": ObjectiveSpec(evade),
    "misvote": ObjectiveSpec(misvote, class_scores=vote_scores),
    "match-features": ObjectiveSpec(match_features),
    "selective": ObjectiveSpec(selective),
    "orthogonal": ObjectiveSpec(evade, direction=orthogonal),
}
"""The objectives against the defence, by their name in the configuration."""
ALL_OBJECTIVES = {NETWORK_OBJECTIVE: ObjectiveSpec(misclassify, network_is_wrong)} | OBJECTIVES


def likely_classes(defense: FrozenDefense, clean: Tensor, labels: Tensor, name: str) -> Tensor:
    """Return the wrong classes of clean images [N, ...] in the order in which an objective aims at them, [N, C - 1]."""
    with torch.no_grad():
        outputs, _ = defense.outputs_and_finite(clean)
        scores = ALL_OBJECTIVES[name].class_scores(outputs, defense.calibration)
    wrong = scores.scatter(1, column(labels), -torch.inf)
    return wrong.argsort(dim=1, descending=True, stable=True)[:, :-1]


def adaptive_objective(
    defense: FrozenDefense, name: str, loss: str, targets: Tensor | None = None, evasion: bool = False
) -> Objective:
    """Return an objective of `ALL_OBJECTIVES` with a loss, ``ce`` or ``dlr``, and target classes [N] (None: any wrong).

    With `evasion` only an image that is not flagged counts as fooled.

    If model outputs are not finite the loss is NaN and the image is not fooled.
    """
    spec, calibration = ALL_OBJECTIVES[name], defense.calibration
    criterion = detection_is_evaded if evasion else spec.criterion

    def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        outputs, finite = defense.outputs_and_finite(images)
        aim = Aim(labels, targets, loss)
        fooled = criterion(outputs, calibration, labels)
        value = spec.loss(outputs, calibration, aim)
        if spec.direction is not None and torch.is_grad_enabled() and images.requires_grad:
            direction = spec.direction(images, outputs, calibration, aim)
            value = _WithGradient.apply(value.detach(), images, direction)
        return defined_only(value, fooled, finite)

    return objective


def detector_objective(defense: FrozenDefense, score: Callable[[ModelOutputs], Tensor], scale: float) -> Objective:
    """Return an objective against a detector alone: misclassify the image with the greatest score.

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

    def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        outputs, finite = defense.outputs_and_finite(images)
        own = outputs.logits.gather(1, column(labels)).squeeze(1)
        best_other = outputs.logits.scatter(1, column(labels), -torch.inf).amax(dim=1)
        missing = (best_other - own - MARGIN).clamp_max(0)
        return defined_only(score(outputs) / scale + missing, misclassified(outputs.logits, labels), finite)

    return objective


class _WithGradient(torch.autograd.Function):
    """Values [N] with the gradient [N, d] with respect to images [N, ...]."""

    @staticmethod
    def forward(ctx, values: Tensor, images: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient.view_as(images))
        return values.clone()

    @staticmethod
    def backward(ctx, of_values: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, of_values.view(-1, *[1] * (gradient.dim() - 1)) * gradient, None
