"""Attacks on training batches, for adversarial training."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from featurepaths.attacks.norms import project, steepest


def attack_batch(
    network: nn.Module, images: Tensor, labels: Tensor, adversary: Mapping[str, Any], generator: Generator
) -> Tensor:
    """Return adversarial images of L-infinity projected gradient ascent from a uniform random start.

    The network is in evaluation mode during the attack, so that the iterates do not change its running statistics.

    Parameters
    ----------
    images, labels
        Images [N, C, H, W] in [0, 1] and labels [N].
    adversary
        ``eps``, the radius in pixel values of [0, 1]; and ``method``: ``pgd`` takes ``iterations`` steps of ``step``
        (Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018), ``single-step`` one
        of 1.25 eps (Wong, Rice and Kolter, Fast is better than free, ICLR 2020).
    """
    eps, single = adversary["eps"], adversary["method"] == "single-step"
    step, count = (1.25 * eps, 1) if single else (adversary["step"], adversary["iterations"])
    was_training = network.training
    network.eval()
    noise = torch.rand(images.shape, generator=generator, dtype=images.dtype, device=generator.device)
    current = project(images + eps * (2 * noise.to(images.device) - 1), images, eps, "linf")
    for _ in range(count):
        current.requires_grad_()
        loss = F.cross_entropy(network(current), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, current)
        current = project(current.detach() + step * steepest(gradient, "linf"), images, eps, "linf")
    network.train(was_training)
    return current
