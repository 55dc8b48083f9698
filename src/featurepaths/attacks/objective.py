"""Objectives of an attack: a loss to maximise and a success criterion."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from featurepaths.attacks.losses import LOSSES
from featurepaths.runtime.blocks import finite_rows

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def misclassify(network: nn.Module, loss: str) -> Objective:
    """Return the objective of an attacker who knows only the network: the loss, and fooled when it is wrong."""

    def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(images)
        answered = finite_rows(logits)
        return torch.where(answered, LOSSES[loss](logits, labels), torch.nan), answered & are_wrong(logits, labels)

    return objective


def are_wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether the greatest of each image's logits [N, C] is another than its label's: [N]."""
    return logits.detach().argmax(dim=1) != labels
