"""One pass of any network, unchanged: device, type, mode and Python code, and the logits in its output."""

import sys
from collections.abc import Iterator, Mapping, Sequence
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
    return next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))


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
    may_be_compiled = "torch._dynamo" in sys.modules and not torch.compiler.is_compiling()
    with torch.compiler.set_stance("force_eager") if may_be_compiled else nullcontext():
        return network(images)


def logits_of(output: Any, images: Tensor) -> Tensor:
    """Return the logits [N, classes] in a network's output for images [N, C, H, W].

    These are the output itself, its attribute or entry ``logits`` (as in transformers' ``ModelOutput``), or the first
    element of a tuple or list.

    Raises
    ------
    FeaturePathsError
        If there are none, or their shape is another.
    """
    kind, logits = type(output).__name__, output
    if isinstance(output, Mapping):
        kind, logits = f"{kind} with the keys {', '.join(map(str, output))}", output.get("logits")
    elif hasattr(output, "logits"):
        logits = output.logits
    elif isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise FeaturePathsError(
            f"The network must return logits [N, classes], not a {kind} without logits. Wrap it in a module that "
            "returns them."
        )
    if logits.dim() != 2 or len(logits) != len(images):
        count = f"{len(images)} image{'s' * (len(images) != 1)}"
        raise FeaturePathsError(
            f"The network must return logits [N, classes], not the shape {tuple(logits.shape)} for {count}. "
            f"{_remedy(logits, len(images))}"
        )
    return logits


def _remedy(logits: Tensor, count: int) -> str:
    """Return a sentence on what to do about logits of another shape."""
    match list(logits.shape):
        case [n] if n == count:
            return "For one logit z per image, return two: torch.stack([-z / 2, z / 2], dim=1)."
        case [_] if count == 1:
            return "If it calls squeeze(), name the axis."
        case [n, _, 1, 1] if n == count:
            return "Flatten them: logits.flatten(1)."
        case [n, _, _, _] if n == count:
            return "It returns maps, as for segmentation. A classifier is needed."
        case _:
            return "Each image needs a row of one logit per class."
