"""AutoPGD: projected gradient ascent that halves its own step (Croce and Hein, ICML 2020, Algorithm 1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featurepaths.attacks.norms import project, steepest
from featurepaths.attacks.objective import Objective

STOPPING_RULES = ("first-success", "last-success", "max-loss")
"""Rules for the iterate that becomes the adversarial example; an image never fooled keeps its greatest loss."""

MOMENTUM = 0.75  # alpha in the publication
RHO = 0.75  # share of steps that must raise the loss; with fewer, the step is halved


@dataclass
class Points:
    """The selected iterate of each image: images [N, ...], loss [N], and whether the image is fooled [N]."""

    adversarial: Tensor
    loss: Tensor
    fooled: Tensor

    def replace(self, where: Tensor, other: "Points | _Iterate") -> None:
        """Replace the points of the images where `where` [N] is true."""
        self.adversarial = _where(where, other.adversarial, self.adversarial)
        self.loss = torch.where(where, other.loss, self.loss)
        self.fooled = torch.where(where, other.fooled, self.fooled)


@dataclass
class Search:
    """The result of one search: the points of each stopping rule, and records of each image [N].

    `first_fooled_step` is the number of the first iterate that fooled (0 is the start, -1 never; the reference confirms
    it only if first successes are kept). `vanished_steps` counts the gradients that were zero in every pixel or not
    finite in some. `undefined` is true if any gradient or loss was not finite. `queries` is the number of forward
    passes, equal for all images.
    """

    points: Mapping[str, Points]
    first_fooled_step: Tensor
    vanished_steps: Tensor
    undefined: Tensor
    queries: int


@dataclass
class _Iterate:
    """Iterates [N, ...] with their loss [N], minus infinity where it is not finite, and whether they fool [N].

    `gradient` [N, ...] and `vanished` [N] are None where no step follows.
    """

    adversarial: Tensor
    loss: Tensor
    fooled: Tensor
    undefined: Tensor
    gradient: Tensor | None = None
    vanished: Tensor | None = None


@dataclass
class _StepSize:
    """The step sizes of each image, [N, 1, ...], and what the publication's conditions for halving them compare."""

    steps: Tensor
    checkpoints: set[int]
    rises: Tensor
    """How often the loss of each image [N] rose since the last checkpoint, of which `best_loss` [N] was the best."""
    best_loss: Tensor
    halved: Tensor
    """Which images' steps [N] were halved at the last checkpoint."""
    last_checkpoint: int = 0

    @classmethod
    def start(cls, step: float | Tensor, iterations: int, first: _Iterate) -> "_StepSize":
        """Return the step sizes before the first step."""
        steps = torch.ones(len(first.loss), *[1] * (first.adversarial.dim() - 1)).to(first.adversarial) * step
        return cls(
            steps, _checkpoints(iterations), torch.zeros_like(first.loss), first.loss, torch.zeros_like(first.fooled)
        )


def apgd(
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    *,
    eps: float | Tensor,
    norm: str = "linf",
    step: float | Tensor | None = None,
    iterations: int = 20,
    stopping_rules: Sequence[str] = STOPPING_RULES,
    reference: Objective | None = None,
) -> Search:
    """Maximise an objective within a ball around each image; images do not influence one another.

    An iterate whose loss is not finite never counts as fooling and is never kept: the search continues from the best
    iterate before it. If the loss is not finite at the start, the search begins at the clean image, which is also kept
    if no iterate has a finite loss. Where the gradient is not finite the step follows the remaining pixels (see
    `featurepaths.attacks.norms.steepest`) and counts as vanished.

    Parameters
    ----------
    objective
        The loss to maximise and the criterion of success: see `featurepaths.attacks.objective`.
    images, labels
        Clean images [N, C, H, W] in [0, 1] and their labels [N].
    start
        Starting points within the ball: see `featurepaths.attacks.norms.random_start`.
    eps
        Radius of the ball, in pixel values of [0, 1]; for ``linf`` also one radius per channel, [C, 1, 1].
    norm
        ``linf`` or ``l2``.
    step
        The initial step, as `eps`; None: ``2 * eps``, as published.
    iterations
        Number of steps, at least 1. The search costs `iterations + 1` forward and `iterations` backward passes.
    stopping_rules
        The rules of `STOPPING_RULES` to keep points of.
    reference
        If `objective` is computed in bfloat16, the same objective in float32. An image counts as fooled only if the
        reference agrees; it is evaluated at each first success and at the returned points. A point that it does not
        confirm is replaced by that of another stopping rule that it confirms, if there is one.
    """
    current = _start(objective, images, labels, start)
    previous = current.adversarial
    step_size = _StepSize.start(2 * eps if step is None else step, iterations, current)
    best = Points(current.adversarial, current.loss, current.fooled)  # greatest loss, fooled or not
    best_gradient = current.gradient
    points = {rule: Points(current.adversarial, current.loss, current.fooled) for rule in stopping_rules}
    confirm = reference if "first-success" in stopping_rules else None
    first = _confirm(confirm, current.adversarial, labels, current.fooled)
    if "first-success" in stopping_rules:
        points["first-success"].fooled = first
    first_fooled_step = torch.where(first, 0, -1)
    vanished_steps, undefined = current.vanished.int(), current.undefined
    position, gradient, last_loss = current.adversarial, current.gradient, current.loss

    for number in range(1, iterations + 1):
        ascended = project(position + step_size.steps * steepest(gradient, norm), images, eps, norm)
        if number > 1:
            ascended = position + MOMENTUM * (ascended - position) + (1 - MOMENTUM) * (position - previous)
            ascended = project(ascended, images, eps, norm)
        previous = position
        current = _evaluate(objective, ascended, labels, with_gradient=number < iterations)
        undefined = undefined | current.undefined

        first = _confirm(confirm, ascended, labels, current.fooled & (first_fooled_step < 0))
        first_fooled_step = torch.where(first, number, first_fooled_step)
        _apply_stopping_rules(points, current, first)
        if current.gradient is None:
            break

        vanished_steps += current.vanished
        improved = current.loss > best.loss
        best.replace(improved, current)
        best_gradient = _where(improved, current.gradient, best_gradient)
        defined = current.loss > -torch.inf
        position = _where(defined, ascended, best.adversarial)
        gradient = _where(defined, current.gradient, best_gradient)
        step_size.rises += current.loss > last_loss
        last_loss = current.loss
        if number in step_size.checkpoints:
            halved = _halve_steps(step_size, number, best.loss)
            position = _where(halved, best.adversarial, position)
            gradient = _where(halved, best_gradient, gradient)

    if reference is not None:
        undefined = undefined | _apply_reference(points, images, labels, reference)
    for kept in points.values():
        kept.loss = torch.where(kept.loss > -torch.inf, kept.loss, torch.nan)
    return Search(points, first_fooled_step, vanished_steps, undefined, iterations + 1)


def _halve_steps(step_size: _StepSize, number: int, best_loss: Tensor) -> Tensor:
    """Halve the steps of images at a checkpoint, iteration `number`, and return whose were halved [N].

    The publication's two conditions: the loss rose in too few steps since the last checkpoint, or the greatest loss and
    the step size are both unchanged.
    """
    few_rises = step_size.rises < RHO * (number - step_size.last_checkpoint)
    unchanged = ~step_size.halved & (best_loss <= step_size.best_loss)
    halved = few_rises | unchanged
    step_size.steps = _where(halved, step_size.steps / 2, step_size.steps)
    step_size.best_loss, step_size.halved = best_loss, halved
    step_size.last_checkpoint, step_size.rises = number, torch.zeros_like(step_size.rises)
    return halved


def _start(objective: Objective, images: Tensor, labels: Tensor, start: Tensor) -> _Iterate:
    """Return the first iterate: the start, or the clean image where the objective is not defined at the start."""
    first = _evaluate(objective, start, labels)
    lost = first.loss == -torch.inf
    if lost.any():
        undefined = first.undefined
        first = _evaluate(objective, _where(lost, images, start), labels)
        first.undefined |= undefined
    return first


def _apply_stopping_rules(points: Mapping[str, Points], current: _Iterate, first: Tensor) -> None:
    """Replace the point of each stopping rule by the current iterate where the rule prefers it."""
    for rule, kept in points.items():
        greater = (current.loss > kept.loss) & (current.fooled == kept.fooled)
        if rule == "first-success":
            where = first | (greater & ~current.fooled)
        elif rule == "last-success":
            where = current.fooled | (greater & ~current.fooled)
        else:
            where = (current.fooled & ~kept.fooled) | greater
        kept.replace(where, current)


def _confirm(reference: Objective | None, images: Tensor, labels: Tensor, fooled: Tensor) -> Tensor:
    """Return which of the fooled images [N] the reference confirms: all without a reference."""
    if reference is None or not fooled.any():
        return fooled
    confirmed = torch.zeros_like(fooled)
    with torch.no_grad():
        confirmed[fooled] = reference(images[fooled], labels[fooled])[1]
    return confirmed


def _apply_reference(points: Mapping[str, Points], images: Tensor, labels: Tensor, reference: Objective) -> Tensor:
    """Set loss and success of the points to the reference's, and return where [N] it was undefined at some point.

    A point that does not fool is replaced by another rule's that does, the greatest loss by a greater one that fools,
    and a point where the reference is undefined by the clean image.
    """
    undefined = torch.zeros_like(labels, dtype=torch.bool)
    for kept in points.values():
        exact = _evaluate(reference, kept.adversarial, labels, with_gradient=False)
        kept.loss, kept.fooled = exact.loss, exact.fooled
        undefined |= exact.undefined
    for rule, kept in points.items():
        for other in points.values():
            greater = other.loss > kept.loss if rule == "max-loss" else False
            kept.replace(other.fooled & (~kept.fooled | greater), other)
    if undefined.any():
        clean = _evaluate(reference, images, labels, with_gradient=False)
        for kept in points.values():
            kept.replace(kept.loss == -torch.inf, clean)
    return undefined


def _checkpoints(iterations: int) -> set[int]:
    """Return the iterations w_j = ceil(p_j N) at which the step may be halved.

    p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06): section 3 of the publication. Hundredths
    are counted as integers, so that rounding moves no checkpoint.
    """
    previous, now = 0, 22
    checkpoints = set()
    while now <= 100:
        checkpoints.add(math.ceil(now * iterations / 100))
        previous, now = now, now + max(now - previous - 3, 6)
    return checkpoints


def _evaluate(objective: Objective, images: Tensor, labels: Tensor, *, with_gradient: bool = True) -> _Iterate:
    """Evaluate an objective at images [N, ...], with the gradient unless no step follows."""
    with torch.set_grad_enabled(with_gradient):
        variable = images.detach().requires_grad_(with_gradient)
        loss, fooled = objective(variable, labels)
    finite = loss.detach().isfinite()
    iterate = _Iterate(images, torch.where(finite, loss.detach(), -torch.inf), fooled & finite, ~finite)
    if with_gradient:
        (iterate.gradient,) = torch.autograd.grad(loss.sum(), variable)
        greatest = iterate.gradient.flatten(1).abs().amax(dim=1)  # NaN if one is
        iterate.vanished = ~((greatest > 0) & (greatest < torch.inf) & finite)
        iterate.undefined = iterate.undefined | ~greatest.isfinite()
    return iterate


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return `yes` for the images where `condition` [N] is true, else `no`."""
    return torch.where(condition.view(-1, *[1] * (yes.dim() - 1)), yes, no)
