"""What attackers who know the whole defence maximise, each for AutoPGD.

A goal is a function of the defence, images [N, C, H, W], what the network shows of them, labels [N], the classes [N]
that are aimed at (None: any wrong one) and the name of a loss. It returns what is to be maximised, [N], differentiable.
`AdaptiveObjective` turns a goal into an objective of `featurepaths.attacks.apgd`: an image is fooled when the defence's whole
decision is wrong, whatever the goal is (or, where the network alone is attacked, when the network is). Where what the
network shows is not finite there is no answer: the image is not fooled, and what is to be maximised is NaN.

Conditions saturate: once one is met by a margin it leaves the step to the others, and what is left to gain is success.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from featurepaths.attacks.losses import dlr
from featurepaths.attacks.objective import are_wrong
from featurepaths.defense.decision import soft_logits, soft_margin, soft_vote
from featurepaths.defense.module import FeaturePathDefense
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs

MARGIN = 0.1
"""How far beyond its threshold a condition counts as surely met."""
RATIO_UNIT = 0.05
"""The difference of logits ratio lies in [-1, 1], and is divided by this where it stands beside log-odds."""


def misclassification_loss(
    logits: Tensor, labels: Tensor, targets: Tensor | None, loss: str, *, saturate: bool = True
) -> Tensor:
    """Return how far logits [N, C] are from being wrong, [N]; with `enough` it grows no more once they surely are.

    ``ce`` is the log-odds of the wrong classes together, log((1 - p_y) / p_y), or of the target: it orders images as
    the cross-entropy does. ``dlr`` is the difference of logits ratio; with targets it is
    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce and Hein, 2020, eq. (7)); both in units of `RATIO_UNIT`.

    Raises
    ------
    FeaturePathsError
        If there are too few classes for ``dlr``: three, or four where it has a target.
    """
    if loss == "ce":
        wanted = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, _column(labels), True)
        wanted = ~wanted if targets is None else torch.zeros_like(wanted).scatter_(1, _column(targets), True)
        inside = logits.masked_fill(~wanted, -torch.inf).logsumexp(dim=1)
        log_odds = inside - logits.masked_fill(wanted, -torch.inf).logsumexp(dim=1)
        # the greatest of n wanted logits is at least their log-sum less log(n)
        return log_odds.clamp_max(math.log(int(wanted[0].sum())) + MARGIN) if saturate else log_odds
    if targets is None:
        ratio = dlr(logits, labels) / RATIO_UNIT
        return ratio.clamp_max(MARGIN) if saturate else ratio
    if logits.shape[1] < 4:
        raise FeaturePathsError("The targeted DLR loss needs at least four classes: use losses: [ce], or n_targets: 0.")
    ordered = logits.sort(dim=1).values
    gap = logits.gather(1, _column(labels)) - logits.gather(1, _column(targets))
    scale = ordered[:, -1] - (ordered[:, -3] + ordered[:, -4]) / 2 + 1e-12
    ratio = -gap.squeeze(1) / scale / RATIO_UNIT
    return ratio.clamp_max(MARGIN) if saturate else ratio


def voted(defense: FeaturePathDefense, seen: ModelOutputs) -> Tensor:
    """Return log-probabilities [N, C] of the defence's vote, made soft."""
    return soft_vote(seen.similarity, defense.calibration.voting_layers, defense.calibration.voting_weights)


def misclassify(
    defense: FeaturePathDefense, images: Tensor, seen: ModelOutputs, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """The network is wrong, whatever the defence says: the strongest attack on the undefended network."""
    return misclassification_loss(seen.logits, labels, targets, loss)


def evade(
    defense: FeaturePathDefense, images: Tensor, seen: ModelOutputs, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """The network is wrong and the score stays above the threshold."""
    wrong = misclassification_loss(seen.logits, labels, targets, loss)
    return wrong + _beyond_threshold(defense, seen, 1)


def misvote(
    defense: FeaturePathDefense, images: Tensor, seen: ModelOutputs, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """The image is flagged and the vote is wrong; a soft vote stands for the hard one, which has no gradient."""
    return misclassification_loss(voted(defense, seen), labels, targets, loss) + _beyond_threshold(defense, seen, -1)


def match_features(
    defense: FeaturePathDefense, images: Tensor, seen: ModelOutputs, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """The path is moved to that of a wrong class in every layer, and the network's label with it."""
    similarity = soft_logits(seen.similarity)
    layers = [
        misclassification_loss(similarity[:, layer], labels, targets, loss, saturate=False)
        for layer in range(similarity.shape[1])
    ]
    return torch.stack(layers).mean(dim=0) + misclassification_loss(seen.logits, labels, targets, loss)


def selective(
    defense: FeaturePathDefense, images: Tensor, seen: ModelOutputs, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """Step for the network alone while it is right, else for the score alone (Bryniarski et al., 2021)."""
    return _alternating(defense, images, seen, labels, targets, loss, orthogonal=False)


def orthogonal(
    defense: FeaturePathDefense, images: Tensor, seen: ModelOutputs, labels: Tensor, targets: Tensor | None, loss: str
) -> Tensor:
    """As `selective`, each step without its part along the other's gradient (Bryniarski et al., 2021)."""
    return _alternating(defense, images, seen, labels, targets, loss, orthogonal=True)


Objective = Callable[[FeaturePathDefense, Tensor, ModelOutputs, Tensor, Tensor | None, str], Tensor]
OBJECTIVES: dict[str, Objective] = {
    "evade": evade,
    "misvote": misvote,
    "match-features": match_features,
    "selective": selective,
    "orthogonal": orthogonal,
}


@dataclass(frozen=True)
class AdaptiveObjective:
    """An objective of an attacker; see the module. `misclassify` is against the network, the others the defence."""

    defense: FeaturePathDefense
    objective: Objective
    loss: str
    targets: Tensor | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss [N] and whether what is attacked answers wrongly [N]."""
        seen, answered = self.defense.look(images)
        decision = self.defense.decide(seen)
        answers = decision.network_predictions if self.objective is misclassify else decision.labels
        fooled = torch.from_numpy(answers).to(labels.device) != labels
        value = self.objective(self.defense, images, seen, labels, self.targets, self.loss)
        return torch.where(answered, value, torch.nan), answered & fooled


@dataclass(frozen=True)
class DetectorObjective:
    """An objective against a detector alone: the network is wrong, and the score is as great as can be.

    An image is fooled when the network is wrong. Of all iterates that fool, `max-loss` keeps the one that scores best,
    so that one search tells for every threshold whether it is evaded.

    Parameters
    ----------
    look
        What the network shows of images, and of which all of it is finite: `FeaturePathDefense.look`.
    score
        The detector's score, [N], of what the network shows; low when adversarial.
    scale
        What counts as one unit of the score, such as its standard deviation over clean images.
    """

    look: Callable[[Tensor], tuple[ModelOutputs, Tensor]]
    score: Callable[[ModelOutputs], Tensor]
    scale: float

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss [N] and whether the network is wrong [N]."""
        seen, answered = self.look(images)
        own = seen.logits.gather(1, _column(labels)).squeeze(1)
        best_other = seen.logits.scatter(1, _column(labels), -torch.inf).amax(dim=1)
        missing = (best_other - own - MARGIN).clamp_max(0)
        value = self.score(seen) / self.scale + missing
        return torch.where(answered, value, torch.nan), answered & are_wrong(seen.logits, labels)


def _beyond_threshold(defense: FeaturePathDefense, seen: ModelOutputs, side: int) -> Tensor:
    """Return how far scores are above the threshold (side 1) or below it (-1), [N]; it saturates like `misclassification_loss`."""
    return (side * soft_margin(defense, seen)).clamp_max(MARGIN)


def _alternating(
    defense: FeaturePathDefense,
    images: Tensor,
    seen: ModelOutputs,
    labels: Tensor,
    targets: Tensor | None,
    loss: str,
    *,
    orthogonal: bool,
) -> Tensor:
    """Return what is missing to both conditions, with the gradient of one of them.

    The published code lets an inner loop overwrite the counter of its schedule, ignores class 0 as a target and never
    looks at its last iterate. Here the choice is made anew for each image and step, and AutoPGD judges every iterate.
    """
    value = misclassification_loss(seen.logits, labels, targets, loss) + _beyond_threshold(defense, seen, 1)
    if not (torch.is_grad_enabled() and images.requires_grad):
        return value
    wrong = misclassification_loss(seen.logits, labels, targets, loss, saturate=False)
    to_wrong, to_above = (
        torch.autograd.grad(part.sum(), images, retain_graph=True)[0].flatten(1)
        for part in (wrong, defense.score_of(seen))
    )
    fooled = are_wrong(seen.logits, labels).unsqueeze(1)
    step, other = torch.where(fooled, to_above, to_wrong), torch.where(fooled, to_wrong, to_above)
    if orthogonal:
        defined = step.isfinite() & other.isfinite()
        there, across = step.where(defined, 0), other.where(defined, 0)
        along = (there * across).sum(dim=1, keepdim=True) / (across * across).sum(dim=1, keepdim=True).clamp_min(1e-30)
        step = torch.where(defined, there - along * across, torch.nan)
    return _WithGradient.apply(value.detach(), images, step)


class _WithGradient(torch.autograd.Function):
    """Values [N] whose gradient by images [N, ...] is a given one [N, d]."""

    @staticmethod
    def forward(ctx, values: Tensor, images: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient.view_as(images))
        return values.clone()

    @staticmethod
    def backward(ctx, of_values: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, of_values.view(-1, *[1] * (gradient.dim() - 1)) * gradient, None


def _column(labels: Tensor) -> Tensor:
    return labels.unsqueeze(1)
