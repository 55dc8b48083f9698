"""Objectives of searches: their type (losses to maximise, and which images are fooled), and misclassification."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from featurepaths.attacks.losses import LOSSES
from featurepaths.networks.copies import copy_of
from featurepaths.networks.forward import finite_rows

T = TypeVar("T")
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From images [N, C, H, W] and labels [N] to the loss [N], NaN where it is undefined, and which images are fooled."""


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the criterion of misclassification, bool [N]: the greatest logit [N, C] is not that of the label [N]."""
    return logits.detach().argmax(dim=1) != labels


def misclassification(network: Callable[[Tensor], Tensor], loss: str) -> Objective:
    """Return the objective of an attack on a network alone: a loss of `LOSSES`, and misclassification as criterion.

    `network` maps images [N, C, H, W] to logits [N, classes].
    """

    def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(images)
        return defined_only(LOSSES[loss](logits, labels), misclassified(logits, labels), finite_rows(logits))

    return objective


def defined_only(loss: Tensor, fooled: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
    """Return loss and criterion [N] with NaN, and not fooled, for images whose model outputs are not `finite` [N]."""
    return torch.where(finite, loss, torch.nan), finite & fooled


def search_and_reference(
    build: Callable[[nn.Module, str], T], network: nn.Module, precision: str
) -> tuple[T, T | None]:
    """Return what `build` returns for a search and for the reference that confirms it; None if they are the same.

    `build` is called with a network and its precision: for the search with a copy of `network`, whose memory layout it
    may change, in `precision`; for the reference with `network` in float32.
    """
    reference = build(network, "float32")
    return (reference, None) if precision == "float32" else (build(copy_of(network), precision), reference)
