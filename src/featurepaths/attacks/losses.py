"""Losses of the attacks: cross-entropy, log-odds, the difference of logits ratio, and its targeted form."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError

SMALLEST = 1.0
"""The smallest logit of each image that attack libraries receive: see `above_zero`."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy [N] of logits [N, C] and labels [N]: the loss L of the paper's eq. (4)."""
    return F.cross_entropy(logits, labels, reduction="none")


def log_odds(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return log((1 - p_y) / p_y) [N], the log-odds of the wrong classes together; with targets, log(p_t / (1 - p_t)).

    The untargeted log-odds order images as the cross-entropy does.
    """
    marked = torch.zeros_like(logits, dtype=torch.bool)
    marked.scatter_(1, column(labels if targets is None else targets), True)
    raised = ~marked if targets is None else marked
    raised_logit, other_logit = (
        logits.masked_fill(excluded, -torch.inf).logsumexp(dim=1) for excluded in (~raised, raised)
    )
    return raised_logit - other_logit


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio, -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), of each image.

    Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks, ICML 2020, eq. (6). Scaling or shifting the logits does not change it.

    Raises
    ------
    FeaturePathsError
        If there are fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise FeaturePathsError("The DLR loss needs at least three classes: use loss: ce.")
    ordered = logits.sort(dim=1).values
    own = logits.gather(1, column(labels)).squeeze(1)
    best_other = torch.where(logits.argmax(dim=1) == labels, ordered[:, -2], ordered[:, -1])
    return -(own - best_other) / (ordered[:, -1] - ordered[:, -3] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return the targeted difference of logits ratio, -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), of each image.

    Source: Croce and Hein, 2020, eq. (7).

    Raises
    ------
    FeaturePathsError
        If there are fewer than four classes.
    """
    if logits.shape[1] < 4:
        raise FeaturePathsError("The targeted DLR loss needs at least four classes: use losses: [ce], or n_targets: 0.")
    ordered = logits.sort(dim=1).values
    gap = logits.gather(1, column(labels)) - logits.gather(1, column(targets))
    return -gap.squeeze(1) / (ordered[:, -1] - (ordered[:, -3] + ordered[:, -4]) / 2 + 1e-12)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": cross_entropy, "dlr": dlr}


def above_zero(logits: Tensor) -> Tensor:
    """Return logits [N, K] shifted by a constant per image so that the smallest one is `SMALLEST`.

    Libraries mask classes with 0 and take the maximum of the others, which is right only for positive logits. The
    constant changes no softmax, difference or gradient.
    """
    return logits - logits.detach().amin(dim=1, keepdim=True) + SMALLEST


def column(labels: Tensor) -> Tensor:
    """Return labels [N] as a column [N, 1], the index that `gather` and `scatter` take."""
    return labels.unsqueeze(1)
