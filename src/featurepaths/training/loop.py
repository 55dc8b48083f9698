"""Training a network, standard or adversarial."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError
from featurepaths.training.adversary import pgd, single_step
from featurepaths.training.augment import crop_flip


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss and accuracy over the images as they were trained on, the last learning rate, the speed."""

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    schedule: str,
    milestones: Sequence[int],
    augment: str,
    adversary: Mapping[str, Any] | None,
    seed: int,
) -> Iterator[Epoch]:
    """Train `network` in place by SGD on the cross-entropy and yield the record of each epoch as it ends.

    Parameters
    ----------
    images, labels
        uint8 images [N, C, H, W] and labels [N], on the network's device.
    schedule, milestones
        ``steps`` divides the rate by 10 when an epoch of `milestones` begins, ``one-cycle`` rises to `learning_rate`
        and falls again over the whole training, ``constant`` leaves it.
    augment
        ``none`` or ``crop-flip``.
    adversary
        None for standard training, else ``method`` (``pgd`` or ``single-step``), ``eps``, ``step`` and ``iterations``.
    seed
        Decides the order of the images, the augmentation and the adversary's starts, through a generator of its own.

    Raises
    ------
    FeaturePathsError
        If the loss is no longer finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), learning_rate, momentum=momentum, weight_decay=weight_decay)
    batches = -(-len(images) // batch_size)
    scheduler = _scheduler(optimizer, schedule, learning_rate, milestones, epochs, batches)
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        network.train()
        total_loss = torch.zeros((), dtype=torch.float64)
        correct = 0
        order = torch.randperm(len(images), generator=generator)
        for rows in order.split(batch_size):
            rate = optimizer.param_groups[0]["lr"]
            batch = images[rows.to(images.device)].float() / 255
            target = labels[rows.to(labels.device)]
            if augment == "crop-flip":
                batch = crop_flip(batch, generator)
            if adversary is not None:
                batch = _attack(network, batch, target, adversary, generator)
            logits = network(batch)
            loss = F.cross_entropy(logits, target)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            total_loss += loss.item() * len(rows)
            correct += int((logits.argmax(dim=1) == target).sum())
        mean_loss = float(total_loss) / len(images)
        if not torch.isfinite(total_loss):
            raise FeaturePathsError(
                f"Training diverged in epoch {epoch}: the loss is {mean_loss}. Lower learning_rate ({learning_rate})."
            )
        speed = len(images) / (time.perf_counter() - start)
        yield Epoch(epoch, mean_loss, correct / len(images), rate, speed)
    network.eval()


def _attack(network, batch: Tensor, target: Tensor, adversary: Mapping[str, Any], generator) -> Tensor:
    if adversary["method"] == "single-step":
        return single_step(network, batch, target, adversary["eps"], generator)
    return pgd(network, batch, target, adversary["eps"], adversary["step"], adversary["iterations"], generator)


def _scheduler(optimizer, schedule: str, learning_rate: float, milestones: Sequence[int], epochs: int, batches: int):
    """Return a scheduler that steps once a batch."""
    if schedule == "one-cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, learning_rate, total_steps=epochs * batches, cycle_momentum=False
        )
    milestones = [(epoch - 1) * batches for epoch in milestones] if schedule == "steps" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
