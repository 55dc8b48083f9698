"""Losses of the attacks: cross-entropy, the difference of logits ratio, and their helpers."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError

SMALLEST = 1.0
"""The smallest logit of each image as attack libraries are given them: see `above_zero`."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image: the loss L of the paper's eq. (4)."""
    return F.cross_entropy(logits, labels, reduction="none")


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the difference of logits ratio, -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), of each image.

    Source: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks, ICML 2020, eq. (6). It does not change when the logits are scaled or shifted.

    Raises
    ------
    FeaturePathsError
        If there are fewer than three classes.
    """
    if logits.shape[1] < 3:
        raise FeaturePathsError("The DLR loss needs at least three classes: use loss: ce.")
    ordered = logits.sort(dim=1).values
    own = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    best_other = torch.where(logits.argmax(dim=1) == labels, ordered[:, -2], ordered[:, -1])
    return -(own - best_other) / (ordered[:, -1] - ordered[:, -3] + 1e-12)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": cross_entropy, "dlr": dlr}


def above_zero(logits: Tensor) -> Tensor:
    """Return logits [N, K] plus a constant of each image that makes the smallest one `SMALLEST`.

    Libraries mask classes with 0 and take the greatest of the others for that of a class that is not masked, which is
    right if all are positive. The constant changes no softmax, difference or gradient.
    """
    return logits - logits.detach().amin(dim=1, keepdim=True) + SMALLEST
