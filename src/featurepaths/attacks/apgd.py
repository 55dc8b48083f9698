"""AutoPGD: projected gradient ascent that halves its own step (Croce and Hein, ICML 2020, Algorithm 1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featurepaths.attacks.norms import project, steepest
from featurepaths.attacks.objective import Objective

STOPPING_RULES = ("first-success", "last-success", "max-loss")
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
    it only where first successes are kept); `vanished_steps` counts the gradients that were zero in every pixel, or not
    finite in some; `undefined` says whether any gradient or loss was not finite; `n_queries` is the number of forward
    passes, equal for all.
    """

    points: Mapping[str, Points]
    first_fooled_step: Tensor
    vanished_steps: Tensor
    undefined: Tensor
    queries: int


@dataclass
class _Evaluated:
    """The loss [N] of iterates, minus infinity where it is not finite; whether they fool [N]; the loss's gradient.

    `gradient` [N, ...] and `vanished` [N] are None where no step follows.
    """

    loss: Tensor
    fooled: Tensor
    undefined: Tensor
    gradient: Tensor | None = None
    vanished: Tensor | None = None


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

    An iterate whose loss is not finite never counts as fooling and is never kept: the search goes on from the best one
    before it. Where the start is such a one, the search begins at the clean image, which is also what is kept if there
    is no other. Where the gradient is not finite the step is that of the remaining pixels (see
    `featurepaths.attacks.norms.steepest`), and counts as vanished.

    Parameters
    ----------
    objective
        The loss to maximise and the test of success: see `featurepaths.attacks.objective`.
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
    current, found = _begin(objective, images, labels, start)
    previous, loss, fooled, gradient = current, found.loss, found.fooled, found.gradient

    best = Points(current, loss, fooled)  # greatest loss, fooled or not: where the search goes back to
    best_gradient = gradient
    points = {stopping_rule: Points(current, loss, fooled) for stopping_rule in stopping_rules}
    confirm = reference if "first-success" in stopping_rules else None
    first = _confirmed(confirm, current, labels, fooled)
    if "first-success" in stopping_rules:
        points["first-success"].fooled = first
    first_fooled_step = torch.where(first, 0, -1)
    vanished_steps, undefined = found.vanished.int(), found.undefined

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
        found = _evaluate(objective, current, labels, with_gradient=number < iterations)
        loss, fooled, undefined = found.loss, found.fooled, undefined | found.undefined

        first = _confirmed(confirm, current, labels, fooled & (first_fooled_step < 0))
        first_fooled_step = torch.where(first, number, first_fooled_step)
        _update(points, current, loss, fooled, first)
        if found.gradient is None:
            break

        vanished_steps += found.vanished
        improved = loss > best.loss
        best.take(improved, current, loss, fooled)
        best_gradient = _choose(improved, found.gradient, best_gradient)
        answered = loss > -torch.inf
        current = _choose(answered, current, best.adversarial)
        gradient = _choose(answered, found.gradient, best_gradient)
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

    if reference is not None:
        undefined = undefined | _judge(points, images, labels, reference)
    for chosen in points.values():
        chosen.loss = torch.where(chosen.loss > -torch.inf, chosen.loss, torch.nan)
    return Search(points, first_fooled_step, vanished_steps, undefined, iterations + 1)


def _begin(objective: Objective, images: Tensor, labels: Tensor, start: Tensor) -> tuple[Tensor, _Evaluated]:
    """Return where the search begins, the clean image where the objective is not defined at the start."""
    found = _evaluate(objective, start, labels)
    lost = found.loss == -torch.inf
    if lost.any():
        start = _choose(lost, images, start)
        again = _evaluate(objective, start, labels)
        again.undefined |= found.undefined
        found = again
    return start, found


def _update(points: Mapping[str, Points], current: Tensor, loss: Tensor, fooled: Tensor, first: Tensor) -> None:
    """Let an iterate take its place under each stopping rule."""
    for stopping_rule, chosen in points.items():
        greater = (loss > chosen.loss) & (fooled == chosen.fooled)
        if stopping_rule == "first-success":
            where = first | (greater & ~fooled)
        elif stopping_rule == "last-success":
            where = fooled | (greater & ~fooled)
        else:
            where = (fooled & ~chosen.fooled) | greater
        chosen.take(where, current, loss, fooled)


def _confirmed(reference: Objective | None, images: Tensor, labels: Tensor, fooled: Tensor) -> Tensor:
    """Return which of the images that seem to be fooled [N] are so in the eyes of the judge, if there is one."""
    if reference is None or not fooled.any():
        return fooled
    confirmed = torch.zeros_like(fooled)
    with torch.no_grad():
        confirmed[fooled] = reference(images[fooled], labels[fooled])[1]
    return confirmed


def _judge(points: Mapping[str, Points], images: Tensor, labels: Tensor, reference: Objective) -> Tensor:
    """Give the points the judge's losses and verdicts, and return for which images [N] it was not defined at one.

    A point that does not fool gives way to another rule's that does, the greatest loss to a greater one that fools, and
    a point where the judge is not defined to the clean image.
    """
    undefined = torch.zeros_like(labels, dtype=torch.bool)
    for chosen in points.values():
        found = _evaluate(reference, chosen.adversarial, labels, with_gradient=False)
        chosen.loss, chosen.fooled = found.loss, found.fooled
        undefined |= found.undefined
    for stopping_rule, chosen in points.items():
        for other in points.values():
            greater = other.loss > chosen.loss if stopping_rule == "max-loss" else False
            chosen.take(other.fooled & (~chosen.fooled | greater), other.adversarial, other.loss, other.fooled)
    if undefined.any():
        clean = _evaluate(reference, images, labels, with_gradient=False)
        for chosen in points.values():
            chosen.take(chosen.loss == -torch.inf, images, clean.loss, clean.fooled)
    return undefined


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


def _evaluate(objective: Objective, images: Tensor, labels: Tensor, *, with_gradient: bool = True) -> _Evaluated:
    """Evaluate an objective at images [N, ...], with the gradient unless no step follows."""
    with torch.set_grad_enabled(with_gradient):
        variable = images.detach().requires_grad_(with_gradient)
        loss, fooled = objective(variable, labels)
    loss_is_finite = loss.detach().isfinite()
    found = _Evaluated(torch.where(loss_is_finite, loss.detach(), -torch.inf), fooled & loss_is_finite, ~loss_is_finite)
    if with_gradient:
        (found.gradient,) = torch.autograd.grad(loss.sum(), variable)
        greatest = found.gradient.flatten(1).abs().amax(dim=1)  # NaN if one is
        found.vanished = ~((greatest > 0) & (greatest < torch.inf) & loss_is_finite)
        found.undefined = found.undefined | ~greatest.isfinite()
    return found


def _choose(where: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Take `yes` for the images where `where` [N] is true, else `no`."""
    return torch.where(where.view(-1, *[1] * (yes.dim() - 1)), yes, no)
