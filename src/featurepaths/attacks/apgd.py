"""AutoPGD: projected gradient ascent that halves its own step (Croce and Hein, ICML 2020, Algorithm 1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featurepaths.attacks.norms import project, steepest
from featurepaths.attacks.objectives import Objective

KEEPS = ("first-success", "last-success", "max-loss")
"""Which of a search's iterates becomes the adversarial example; an image never fooled keeps its greatest loss."""

MOMENTUM = 0.75  # alpha in the publication
RHO = 0.75  # share of steps that must raise the loss for the step size to stay


@dataclass
class Points:
    """One chosen iterate of each image: the images [N, ...], their loss [N], and whether they fool [N]."""

    adversarial: Tensor
    loss: Tensor
    fooled: Tensor

    def take(self, where: Tensor, images: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Replace the points of the images where `where` [N] is true."""
        self.adversarial = _choose(where, images, self.adversarial)
        self.loss = torch.where(where, loss, self.loss)
        self.fooled = torch.where(where, fooled, self.fooled)


@dataclass
class Search:
    """What one search found: the points of each stopping rule of `KEEPS`, and records of each image [N].

    `first_fooled_step` is the number of the first iterate that fooled (0 is the start, -1 never; a judge has a say in
    it only where first successes are kept); `vanished_steps` counts the gradients that were zero in every pixel;
    `queries` is the number of forward passes, equal for all.
    """

    points: Mapping[str, Points]
    first_fooled_step: Tensor
    vanished_steps: Tensor
    queries: int


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
    keeps: Sequence[str] = KEEPS,
    judge: Objective | None = None,
) -> Search:
    """Maximise an objective within a ball around each image; images do not influence one another.

    Parameters
    ----------
    objective
        The loss to maximise and the test of success: see `featurepaths.attacks.objectives`.
    images, labels
        Clean images [N, C, H, W] in [0, 1] and their labels [N].
    start
        Where the search begins, within the ball: see `featurepaths.attacks.norms.random_start`.
    eps
        Radius of the ball, in pixel values of [0, 1]; for ``linf`` also one radius a channel, [C, 1, 1].
    norm
        ``linf`` or ``l2``.
    step
        The initial step, as `eps`; ``2 * eps``, as published, when None.
    iterations
        Number of steps, at least 1. The search costs `iterations + 1` forward and `iterations` backward passes.
    keeps
        The stopping rules of `KEEPS` that are wanted.
    judge
        Where `objective` is computed roughly (in bfloat16): the same, computed exactly. An image counts as fooled only
        if the judge agrees; it is asked for each first success, and for the points that are returned. A point that it
        does not confirm is replaced by one of another stopping rule that it does, where there is one.
    """
    steps = torch.ones(len(images), *[1] * (images.dim() - 1)).to(images) * (2 * eps if step is None else step)
    checkpoints = _checkpoints(iterations)
    current = previous = start
    loss, fooled, gradient = _evaluate(objective, current, labels)

    best = Points(current, loss, fooled)  # greatest loss, fooled or not: where the search goes back to
    best_gradient = gradient
    points = {keep: Points(current, loss, fooled) for keep in keeps}
    confirm = judge if "first-success" in keeps else None
    first = _confirmed(confirm, current, labels, fooled)
    if "first-success" in keeps:
        points["first-success"].fooled = first
    first_fooled_step = torch.where(first, 0, -1)
    vanished_steps = _vanished(gradient).int()

    rises = torch.zeros_like(loss)
    last_loss = loss
    last_checkpoint = 0
    best_at_checkpoint, halved_at_checkpoint = loss, torch.zeros_like(fooled)

    for number in range(1, iterations + 1):
        ascended = project(current + steps * steepest(gradient, norm), images, eps, norm)
        if number > 1:
            ascended = current + MOMENTUM * (ascended - current) + (1 - MOMENTUM) * (current - previous)
            ascended = project(ascended, images, eps, norm)
        previous, current = current, ascended
        loss, fooled, gradient = _evaluate(objective, current, labels, with_gradient=number < iterations)

        first = _confirmed(confirm, current, labels, fooled & (first_fooled_step < 0))
        first_fooled_step = torch.where(first, number, first_fooled_step)
        _update(points, current, loss, fooled, first)
        if gradient is None:
            break

        vanished_steps += _vanished(gradient)
        improved = loss > best.loss
        best.take(improved, current, loss, fooled)
        best_gradient = _choose(improved, gradient, best_gradient)
        rises += loss > last_loss
        last_loss = loss
        if number in checkpoints:
            # the publication's two conditions: too few rises, or nothing gained since the step was last the same
            few_rises = rises < RHO * (number - last_checkpoint)
            stuck = ~halved_at_checkpoint & (best.loss <= best_at_checkpoint)
            halve = few_rises | stuck
            steps = _choose(halve, steps / 2, steps)
            current = _choose(halve, best.adversarial, current)
            gradient = _choose(halve, best_gradient, gradient)
            best_at_checkpoint, halved_at_checkpoint = best.loss, halve
            last_checkpoint, rises = number, torch.zeros_like(rises)

    if judge is not None:
        points = _judged(points, labels, judge)
    return Search(points, first_fooled_step, vanished_steps, iterations + 1)


def _update(points: Mapping[str, Points], current: Tensor, loss: Tensor, fooled: Tensor, first: Tensor) -> None:
    """Let an iterate take its place under each stopping rule."""
    for keep, chosen in points.items():
        greater = (loss > chosen.loss) & (fooled == chosen.fooled)
        if keep == "first-success":
            where = first | (greater & ~fooled)
        elif keep == "last-success":
            where = fooled | (greater & ~fooled)
        else:
            where = (fooled & ~chosen.fooled) | greater
        chosen.take(where, current, loss, fooled)


def _confirmed(judge: Objective | None, images: Tensor, labels: Tensor, fooled: Tensor) -> Tensor:
    """Return which of the images that seem to be fooled [N] are so in the eyes of the judge, if there is one."""
    if judge is None or not fooled.any():
        return fooled
    confirmed = torch.zeros_like(fooled)
    with torch.no_grad():
        confirmed[fooled] = judge(images[fooled], labels[fooled])[1]
    return confirmed


def _judged(points: Mapping[str, Points], labels: Tensor, judge: Objective) -> Mapping[str, Points]:
    """Return the points with the judge's losses and verdicts.

    One that does not fool gives way to another rule's that does, and the greatest loss to a greater one that fools.
    """
    with torch.no_grad():
        judged = {
            keep: Points(chosen.adversarial, *judge(chosen.adversarial, labels)) for keep, chosen in points.items()
        }
    for keep, chosen in judged.items():
        for other in judged.values():
            greater = other.loss > chosen.loss if keep == "max-loss" else False
            chosen.take(other.fooled & (~chosen.fooled | greater), other.adversarial, other.loss, other.fooled)
    return judged


def _checkpoints(iterations: int) -> set[int]:
    """Return the iterations w_j = ceil(p_j N) at which the step may be halved.

    p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06): section 3 of the publication. Hundredths
    are counted as integers, so that no rounding moves a checkpoint.
    """
    previous, now = 0, 22
    found = set()
    while now <= 100:
        found.add(math.ceil(now * iterations / 100))
        previous, now = now, now + max(now - previous - 3, 6)
    return found


def _evaluate(
    objective: Objective, images: Tensor, labels: Tensor, *, with_gradient: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return loss [N], success [N] and, unless no step follows, the gradient [N, ...]."""
    if not with_gradient:
        with torch.no_grad():
            return *objective(images, labels), None
    with torch.enable_grad():
        variable = images.detach().requires_grad_()
        loss, fooled = objective(variable, labels)
        (gradient,) = torch.autograd.grad(loss.sum(), variable)
    return loss.detach(), fooled, gradient


def _vanished(gradient: Tensor) -> Tensor:
    return ~gradient.flatten(1).any(dim=1)


def _choose(where: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Take `yes` for the images where `where` [N] is true, else `no`."""
    return torch.where(where.view(-1, *[1] * (yes.dim() - 1)), yes, no)
