"""The attack, eq. (4): AutoPGD, projected gradient ascent that halves its own step (Croce and Hein, ICML 2020)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from featurepaths.attacks.norms import project, steepest
from featurepaths.attacks.objective import Objective
from featurepaths.runtime.blocks import INDEPENDENT, pad_block

STOPPING_RULES = ("first-success", "last-success", "max-loss")
"""Rules for the iterate that becomes the adversarial example; an image never fooled keeps its greatest loss."""

MOMENTUM = 0.75  # alpha in the publication
RHO = 0.75  # share of steps that must raise the loss; with fewer, the step is halved


@dataclass(frozen=True)
class Budget:
    """The bounds of a search: the ball around each image, its steps, and the seed of its random start.

    The radius `eps` and the initial step (None: ``2 * eps``, as published) are in pixel values of [0, 1]; for ``linf``
    they may also be one per channel, [C, 1, 1]. `norm` is ``linf`` or ``l2``; `iterations`, at least 1, is the number
    of steps. The random start depends on `seed` and the image's index.
    """

    eps: float | Tensor
    norm: str = "linf"
    step: float | Tensor | None = None
    iterations: int = 20
    seed: int = 0

    @property
    def smallest_eps(self) -> float:
        """The radius, the smallest one if each channel has its own."""
        return float(self.eps.min()) if isinstance(self.eps, Tensor) else float(self.eps)

    def scaled(self, factor: float | Tensor) -> "Budget":
        """Return the same budget in a ball `factor` times as large, with steps in proportion."""
        return replace(self, eps=self.eps * factor, step=None if self.step is None else self.step * factor)


class Points(NamedTuple):
    """One iterate of each image: images [N, ...], loss [N], minus infinity if not finite, and which are fooled [N].

    `gradient` [N, ...] is None where no step follows.
    """

    adversarial: Tensor
    loss: Tensor
    fooled: Tensor
    gradient: Tensor | None = None

    def where(self, condition: Tensor, other: "Points") -> "Points":
        """Return these points for the images where `condition` [N] is true, and the other ones elsewhere."""
        bare = self.gradient is None or other.gradient is None
        return Points(
            _where(condition, self.adversarial, other.adversarial),
            torch.where(condition, self.loss, other.loss),
            torch.where(condition, self.fooled, other.fooled),
            None if bare else _where(condition, self.gradient, other.gradient),
        )


@dataclass
class Search:
    """The result of one search: the points of each stopping rule, and records of each image [N].

    A loss is NaN if it is finite nowhere. `first_fooled_step` is the number of the first iterate that fooled (0 is the
    start, -1 never; the reference confirms it only if first successes are kept). `vanished_steps` counts the gradients
    that were zero in every pixel or not finite in some. `undefined` is true if any gradient or loss was not finite.
    `queries` is the number of forward passes of each image.
    """

    points: Mapping[str, Points]
    first_fooled_step: Tensor
    vanished_steps: Tensor
    undefined: Tensor
    queries: int | Tensor


def apgd(
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    budget: Budget,
    *,
    stopping_rules: Sequence[str] = STOPPING_RULES,
    reference: Objective | None = None,
    narrow: Callable[[np.ndarray], tuple[Objective, Objective | None]] | None = None,
) -> Search:
    """Maximise an objective within a ball around each image, eq. (4), by the publication's Algorithm 1.

    Images do not influence one another.

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
    budget
        The ball and the steps. A search costs one more forward pass than it has iterations.
    stopping_rules
        The rules of `STOPPING_RULES` to keep points of.
    reference
        If `objective` is computed in bfloat16, the same objective in float32. An image counts as fooled only if the
        reference agrees; it is evaluated at each first success and at the returned points. A point that it does not
        confirm is replaced by that of another stopping rule that it confirms, if there is one.
    narrow
        Returns the objective and the reference for the images at some positions. With it the search of an image ends
        at its first success, and only the others are evaluated: in blocks whose sizes (see
        `featurepaths.runtime.blocks`) keep an image's results, on a CPU, the same whichever others end.
    """
    eps, norm, last = budget.eps, budget.norm, budget.iterations
    current, undefined, vanished = _evaluate(objective, start, labels)
    infinite = current.loss == -torch.inf
    if infinite.any():
        current, also_undefined, vanished = _evaluate(objective, _where(infinite, images, start), labels)
        undefined = undefined | also_undefined
    vanished_steps = vanished.int()

    confirm = "first-success" in stopping_rules and reference is not None
    first = _confirmed(narrow, reference, current, labels, current.fooled) if confirm else current.fooled
    first_fooled_step = torch.where(first, 0, -1)
    points = dict.fromkeys(stopping_rules, current._replace(gradient=None))
    if "first-success" in points:
        points["first-success"] = points["first-success"]._replace(fooled=first)

    previous, position, best = current.adversarial, current, current  # best: the greatest loss, fooled or not
    steps = torch.ones(len(labels), *[1] * (images.dim() - 1)).to(start)
    steps = steps * (2 * eps if budget.step is None else budget.step)
    checkpoints, losses = _checkpoints(last), [current.loss]
    halved, best_at_checkpoint = torch.zeros_like(current.fooled), current.loss
    queries, rows, searched = torch.ones_like(vanished_steps), np.arange(len(labels)), objective
    goes_on = torch.ones_like(vanished)
    for number in range(1, last + 1):
        if narrow is not None:
            goes_on = first_fooled_step < 0
            standing = np.flatnonzero(goes_on.cpu().numpy())
            if len(standing) == 0:
                break
            if len(smaller := pad_block(standing, INDEPENDENT)) < len(rows):
                rows, searched = smaller, narrow(smaller)[0]
        before = position.adversarial
        ascended = project(before + steps * steepest(position.gradient, norm), images, eps, norm)
        if number > 1:
            ascended = before + MOMENTUM * (ascended - before) + (1 - MOMENTUM) * (before - previous)
            ascended = project(ascended, images, eps, norm)
        previous = before
        current, undefined_now, vanished = _evaluate(searched, ascended, labels, rows, with_gradient=number < last)
        undefined = undefined | (undefined_now & goes_on)
        queries += goes_on

        first = current.fooled & (first_fooled_step < 0)
        if confirm:
            first = _confirmed(narrow, reference, current, labels, first)
        first_fooled_step = torch.where(first, number, first_fooled_step)
        for rule, stored in points.items():
            points[rule] = current.where(_preferred(rule, current, stored, first), stored)
        if number == last:
            break

        vanished_steps += vanished & goes_on
        best = current.where(current.loss > best.loss, best)
        position = current.where(current.loss > -torch.inf, best)
        losses.append(current.loss)
        if number in checkpoints:
            halved = _to_halve(losses, halved, best.loss <= best_at_checkpoint)
            steps = _where(halved, steps / 2, steps)
            position = best.where(halved, position)  # restart from the best iterate
            losses, best_at_checkpoint = losses[-1:], best.loss

    if reference is not None:
        undefined = undefined | _apply_reference(points, images, labels, reference)
    for rule, stored in points.items():
        points[rule] = stored._replace(loss=torch.where(stored.loss > -torch.inf, stored.loss, torch.nan))
    return Search(points, first_fooled_step, vanished_steps, undefined, queries)


def _to_halve(losses: Sequence[Tensor], halved: Tensor, best_unchanged: Tensor) -> Tensor:
    """Return which images' steps [N] to halve at a checkpoint, by the publication's two conditions.

    A step is halved if, since the last checkpoint, the loss rose in too few steps; or if it was not halved at that
    checkpoint and the greatest loss has not grown since. `losses` [N] are those from that checkpoint on.
    """
    rises = sum(after > before for before, after in pairwise(losses))
    return (rises < RHO * (len(losses) - 1)) | (~halved & best_unchanged)


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


def _preferred(rule: str, current: Points, stored: Points, first: Tensor) -> Tensor:
    """Return for which images [N] a stopping rule prefers the current iterate to the one it kept so far."""
    if rule == "max-loss":
        return (current.fooled & ~stored.fooled) | ((current.loss > stored.loss) & (current.fooled == stored.fooled))
    succeeds = first if rule == "first-success" else current.fooled
    return succeeds | (~current.fooled & ~stored.fooled & (current.loss > stored.loss))


def _confirmed(narrow: Callable | None, reference: Objective, points: Points, labels: Tensor, fooled: Tensor) -> Tensor:
    """Return which of the `fooled` images [N] the reference confirms."""
    confirmed = torch.zeros_like(fooled)
    if fooled.any():
        if narrow is not None:
            _, reference = narrow(np.flatnonzero(fooled.cpu().numpy()))
        with torch.no_grad():
            confirmed[fooled] = reference(points.adversarial[fooled], labels[fooled])[1]
    return confirmed


def _apply_reference(points: dict[str, Points], images: Tensor, labels: Tensor, reference: Objective) -> Tensor:
    """Set loss and success of the points to the reference's, and return where [N] it was undefined at some point.

    A point that does not fool is replaced by another rule's that does, the greatest loss by a greater one that fools,
    and a point where the reference is undefined by the clean image.
    """
    undefined = torch.zeros_like(labels, dtype=torch.bool)
    for rule, stored in points.items():
        points[rule], undefined_here, _ = _evaluate(reference, stored.adversarial, labels, with_gradient=False)
        undefined |= undefined_here
    for rule in points:
        for other in list(points.values()):
            better = ~points[rule].fooled
            if rule == "max-loss":
                better |= other.loss > points[rule].loss
            points[rule] = other.where(other.fooled & better, points[rule])
    if undefined.any():
        clean, _, _ = _evaluate(reference, images, labels, with_gradient=False)
        for rule, stored in points.items():
            points[rule] = clean.where(stored.loss == -torch.inf, stored)
    return undefined


def _evaluate(
    objective: Objective, images: Tensor, labels: Tensor, rows: np.ndarray | None = None, *, with_gradient: bool = True
) -> tuple[Points, Tensor, Tensor]:
    """Return the points at images [N, ...], and where [N] loss or gradient are undefined and the gradient vanished.

    Only the images at the positions `rows`, all by default, are evaluated; the loss of others is minus infinity.
    """
    if rows is not None and len(rows) < len(labels):
        part, *flags = _evaluate(objective, images[rows], labels[rows], with_gradient=with_gradient)
        gradient = None if part.gradient is None else _spread(part.gradient, rows, len(labels))
        loss, fooled = _spread(part.loss, rows, len(labels), -torch.inf), _spread(part.fooled, rows, len(labels))
        return Points(images, loss, fooled, gradient), *(_spread(flag, rows, len(labels)) for flag in flags)
    with torch.set_grad_enabled(with_gradient):
        variable = images.detach().requires_grad_(with_gradient)
        loss, fooled = objective(variable, labels)
    finite = loss.detach().isfinite()
    points = Points(images, torch.where(finite, loss.detach(), -torch.inf), fooled & finite)
    if not with_gradient:
        return points, ~finite, torch.zeros_like(finite)
    (gradient,) = torch.autograd.grad(loss.sum(), variable)
    greatest = gradient.flatten(1).abs().amax(dim=1)  # NaN if one is
    vanished = ~((greatest > 0) & (greatest < torch.inf) & finite)
    return points._replace(gradient=gradient), ~(finite & greatest.isfinite()), vanished


def _spread(values: Tensor, rows: np.ndarray, count: int, blank: float = 0) -> Tensor:
    """Return the values [n, ...] of the images at the positions `rows` among all of them, [N, ...]."""
    everything = values.new_full((count, *values.shape[1:]), blank)
    everything[rows] = values
    return everything


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Return `yes` for the images where `condition` [N] is true, else `no`."""
    return torch.where(condition.view(-1, *[1] * (yes.dim() - 1)), yes, no)
