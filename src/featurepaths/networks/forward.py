"""One forward pass of any network: its precision, the outputs of its layers, read by hooks, and their pooling.

bfloat16 passes are used where these are fast; weights, inputs and logits stay in float32.
"""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.running import (
    REFUSALS,
    blank_images,
    device_of,
    evaluation_mode,
    logits_of,
    uncompiled,
    weights_like,
)

POOLINGS = {
    "flatten": lambda output: output.flatten(1),
    "mean": lambda output: output.mean(dim=tuple(range(2, output.dim()))) if output.dim() > 2 else output,
}
"""Poolings of a layer's output [N, d, ...] to its feature: every value (the paper's), or each channel's average over
all positions or tokens."""
_FEATURE_AXES: MutableMapping[nn.Module, int] = WeakKeyDictionary()
"""The feature axis of modules whose outputs' shapes leave it open."""


def forward_intermediates(network: nn.Module, images: Tensor, layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Run `network` once and return its logits and the outputs of the modules named `layers`, in that order.

    Outputs and errors are those of `forward_with_callback`. An output that a later module changes in place is refused,
    except under inference mode, where torch does not count changes.
    """
    outputs: dict[str, tuple[Tensor, int]] = {}

    def keep(name: str, output: Tensor) -> None:
        outputs[name] = output, _version(output)

    logits = forward_with_callback(network, images, layers, keep)
    _check_unchanged(outputs)
    return logits, [outputs[name][0] for name in layers]


def _version(output: Tensor) -> int:
    """Return how often a tensor was changed in place: 0 for tensors of inference mode, which do not count it."""
    return 0 if output.is_inference() else output._version


def _check_unchanged(outputs: Mapping[str, tuple[Tensor, int]]) -> None:
    """Raise FeaturePathsError if an output, by module, has no longer the version that it had."""
    for name, (output, version) in outputs.items():
        if _version(output) != version:
            raise FeaturePathsError(
                f"The output of module '{user_name(name)}' is changed in place by a later module. Choose a later "
                "layer, or set inplace=False in that module."
            )


def forward_with_callback(
    network: nn.Module, images: Tensor, layers: Sequence[str], callback: Callable[[str, Tensor], None]
) -> Tensor:
    """Run `network` once and return its logits; call `callback` with each layer's name and output when it has run.

    Outputs that `callback` does not keep are freed before later layers run. Features are their first axis after the
    images: [N, d], [N, d, T] or [N, d, H, W]. Tokens are [N, T, d] in every network; maps are [N, H, W, d] in a few.

    Raises
    ------
    AttributeError
        If the network has no module of such a name.
    FeaturePathsError
        If a module belongs to TorchScript, does not run exactly once, or does not return a tensor with a feature for
        each image.
    """
    pending = set(layers)
    deferred: dict[str, tuple[Tensor, int]] = {}  # from the first layer on whose axes are open, in order

    def axis_of(name: str, values: Tensor) -> int | None:
        return _FEATURE_AXES.get(network.get_submodule(name)) or _feature_axis(values, images)

    def hook(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if name not in pending:
            raise FeaturePathsError(f"Layer {user_name(name)} runs more than once in a pass. Choose another layer.")
        pending.remove(name)
        values = first_tensor(output, len(images))
        if values is None:
            raise FeaturePathsError(
                f"Layer {user_name(name)} returns {_described(output)} for {len(images)} images, not [N, d], tokens "
                "[N, T, d] or maps [N, d, H, W]. Choose another layer."
            )
        axis = axis_of(name, values)
        if axis is None or deferred:
            deferred[name] = values, _version(values)
        else:
            callback(name, values if axis == 1 else values.movedim(axis, 1))

    with ExitStack() as handles:
        for name in layers:
            handles.enter_context(layer_module(network, name).register_forward_hook(partial(hook, name)))
        logits = uncompiled(network, images)
    if pending:
        name = user_name(min(pending))
        raise FeaturePathsError(f"Layer {name} does not run when the network does. Choose another layer.")
    if deferred:
        _check_unchanged(deferred)
        _decide_feature_axes(network, images, [name for name in deferred if axis_of(name, deferred[name][0]) is None])
        for name, (values, _) in deferred.items():
            callback(name, values.movedim(axis_of(name, values), 1))
    return logits


def layer_module(network: nn.Module, name: str) -> nn.Module:
    """Return a module of a network by its name.

    Raises
    ------
    AttributeError
        If there is none.
    FeaturePathsError
        If it belongs to TorchScript, whose modules have no hooks.
    """
    module = network.get_submodule(name)
    if isinstance(module, torch.jit.ScriptModule):
        raise FeaturePathsError(
            f"Layer {user_name(name)} is a TorchScript module, whose output cannot be read. Build the network from its "
            "Python code, or choose a layer outside of TorchScript."
        )
    return module


def user_name(name: str) -> str:
    """Return a module's name without the prefixes ``network.`` of this package's wrappers."""
    return re.sub(r"^(network\.)+", "", name)


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of a module's output or arguments: a tensor, or tuples, lists and mappings of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for tensor in output.values() if isinstance(output, dict) else output:
            yield from tensors_in(tensor)


def first_tensor(output: Any, count: int) -> Tensor | None:
    """Return the first tensor of an output that is [N, d], tokens or maps of `count` images; None without one."""
    return next((tensor for tensor in tensors_in(output) if 2 <= tensor.dim() <= 4 and len(tensor) == count), None)


def _described(output: Any) -> str:
    shapes = [str(list(tensor.shape)) for tensor in tensors_in(output)]
    return " and ".join(shapes) or f"a {type(output).__name__}"


def _feature_axis(output: Tensor, images: Tensor) -> int | None:
    """Return the axis of an output that holds features; None if its shape leaves open which of a map's axes it is.

    The height and width of maps are in proportion to those of the images.
    """
    if output.dim() < 4:
        return output.dim() - 1
    height, width = images.shape[-2:]
    channels_first, channels_last = (
        abs(h * width - w * height) < max(height, width) for h, w in (output.shape[2:], output.shape[1:3])
    )
    return None if channels_first == channels_last else 1 if channels_first else 3


@torch.no_grad()
def _decide_feature_axes(network: nn.Module, images: Tensor, layers: Sequence[str]) -> None:
    """Store the feature axes of modules in `_FEATURE_AXES`, measured by passes of the network.

    In images of twice the width, the axis that grows is the last one exactly if features are first. Where the network
    does not accept these, features are on the axis along which the output varies for images of one colour as it does
    for patterns; along the others it varies less.
    """
    channels, height, width = images.shape[1:]
    generator = torch.Generator().manual_seed(0)
    patterns, colours = torch.rand(2, 4, channels, 4, 4, generator=generator)
    drawn = patterns, colours[:, :, :1, :1]
    pair = torch.cat([F.interpolate(values, (height, width)) for values in drawn]).to(images)

    def outputs(batch: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        with ExitStack() as handles:
            for name in layers:
                hook = lambda *arguments, name=name: values.update({name: first_tensor(arguments[2], len(batch))})  # noqa: E731
                handles.enter_context(network.get_submodule(name).register_forward_hook(hook))
            uncompiled(network, batch)
        return values

    with evaluation_mode(network):
        measured = outputs(pair)
        try:
            wide = outputs(torch.cat([pair[:2], pair[:2]], dim=3))
        except REFUSALS:
            wide = {}
    for name, values in measured.items():
        by_pattern, by_colour = (
            {axis: half.double().var(axis, unbiased=False).mean() for axis in (1, 3)} for half in values.chunk(2)
        )
        ratio = {axis: (by_colour[axis] + 1e-12) / (by_pattern[axis] + 1e-12) for axis in (1, 3)}
        features_first = bool(ratio[1] >= ratio[3])
        if name in wide and wide[name].shape[1] == values.shape[1]:
            grown = wide[name].shape[3] != values.shape[3]
            if grown != (wide[name].shape[2] != values.shape[2]):
                features_first = grown
        _FEATURE_AXES[network.get_submodule(name)] = 1 if features_first else 3


def layer_shapes(network: nn.Module, layers: Sequence[str], image_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shape of each layer's output for one image of `image_shape`, measured by running the network."""
    with torch.no_grad(), evaluation_mode(network):
        _, outputs = forward_intermediates(network, blank_images(network, 1, image_shape), layers)
    return [tuple(output.shape[1:]) for output in outputs]


def finite_rows(values: Tensor) -> Tensor:
    """Return which images have only finite values [N, ...], bool [N]."""
    rows = values.detach().flatten(1)  # extremes take a tenth of the time of `isfinite` on all values
    return rows.amax(dim=1).isfinite() & rows.amin(dim=1).isfinite()


def resolve_precision(name: str, device: torch.device) -> str:
    """Return ``float32`` or ``bfloat16``; ``auto`` is bfloat16 if the device has instructions for it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def memory_format(precision: str, device: torch.device) -> torch.memory_format:
    """Return the fastest memory layout of images and weights: channels-last where tensor cores compute in bfloat16.

    Not on a CPU, where it saves less than a tenth of the time and is not safe (see `featurepaths.networks.resnet`).
    """
    tensor_cores = device.type == "cuda" and precision == "bfloat16"
    return torch.channels_last if tensor_cores else torch.contiguous_format


class InPrecision(nn.Module):
    """A network whose passes are computed in a precision, from images of any floating type to logits in float32.

    Images are converted to the type of the network's weights.

    Parameters
    ----------
    network
        Its weights are shared, and their memory layout is changed in place.
    precision
        ``float32`` or ``bfloat16``: see `resolve_precision`.
    """

    def __init__(self, network: nn.Module, precision: str):
        super().__init__()
        self.device = device_of(network)
        self.bfloat16 = precision == "bfloat16"
        self.memory_format = memory_format(precision, self.device)
        self.network = network.to(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            images = images.to(weights_like(self.network).dtype)
            output = self.network(images.contiguous(memory_format=self.memory_format))
        return logits_of(output, images).float()
