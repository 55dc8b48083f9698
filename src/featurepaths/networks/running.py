"""Running any network once as it stands: its device, its weights' type, evaluation mode, and its Python code."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError

REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""Errors that networks raise on images of a shape that they do not accept."""


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters.

    Raises
    ------
    FeaturePathsError
        If it has none.
    """
    if (parameter := next(network.parameters(), None)) is None:
        raise FeaturePathsError(
            "The network has no parameters, from which its device would be read. If it is quantised, load it in "
            "floating point; otherwise register its weights as parameters."
        )
    return parameter.device


def blank_images(network: nn.Module, count: int, image_shape: Sequence[int]) -> Tensor:
    """Return zeros [count, C, H, W] on the device, and of the type, of a network's weights."""
    return torch.zeros(count, *image_shape).to(weights_like(network))


def weights_like(network: nn.Module) -> Tensor:
    """Return a floating-point weight, or else a buffer, of a network, or a float32 value if it has none."""
    tensors = chain(network.parameters(), network.buffers())
    return next((each for each in tensors if each.is_floating_point()), torch.empty(0))


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and afterwards those back into training mode that were in it."""
    training = [module for module in network.modules() if module.training]
    if training:
        network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def uncompiled(network: nn.Module, images: Tensor) -> Any:
    """Return a network's output, from its Python code even if torch.compile was applied, which may leave out hooks."""
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
        return network(images)
