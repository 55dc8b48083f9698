"""One forward pass of any network: its precision, the outputs of its layers, read by hooks, and their pooling.

bfloat16 passes are used where these are fast; weights, inputs and logits stay in float32.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.logits import logits_of

POOLINGS = {
    "flatten": lambda output: output.flatten(1),
    "mean": lambda output: output.mean(dim=tuple(range(2, output.dim()))) if output.dim() > 2 else output,
}
"""Poolings of a layer's output [N, d, ...] to its feature: every value (the paper's), or each channel's average over
all positions or tokens."""


def forward_intermediates(network: nn.Module, images: Tensor, layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Run `network` once and return its logits and the outputs of the modules named `layers`, in that order.

    Outputs and errors are those of `forward_with_callback`.
    """
    outputs: dict[str, Tensor] = {}
    logits = forward_with_callback(network, images, layers, outputs.__setitem__)
    return logits, [outputs[name] for name in layers]


def forward_with_callback(
    network: nn.Module, images: Tensor, layers: Sequence[str], callback: Callable[[str, Tensor], None]
) -> Tensor:
    """Run `network` once and return its logits; call `callback` with each layer's name and output when it has run.

    Outputs that `callback` does not keep are freed before later layers run. See `_features_first` for their axes.

    Raises
    ------
    AttributeError
        If the network has no module of such a name.
    FeaturePathsError
        If a module does not run exactly once, or does not return a tensor with a feature for each image.
    """
    pending = set(layers)

    def hook(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if name not in pending:
            raise FeaturePathsError(f"Layer {user_name(name)} runs more than once in a pass. Choose another layer.")
        pending.remove(name)
        callback(name, _features_first(user_name(name), output, images))

    with ExitStack() as handles:
        for name in layers:
            handles.enter_context(network.get_submodule(name).register_forward_hook(partial(hook, name)))
        if is_compiled(network):  # compiled code may not call hooks
            handles.enter_context(torch.compiler.set_stance("force_eager"))
        logits = network(images)
    if pending:
        name = user_name(min(pending))
        raise FeaturePathsError(f"Layer {name} does not run when the network does. Choose another layer.")
    return logits


def is_compiled(network: nn.Module) -> bool:
    """Return whether `torch.compile` compiled a network, or modules in it."""
    return any(module._compiled_call_impl or "_orig_mod" in module._modules for module in network.modules())


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


def user_name(name: str) -> str:
    """Return a module's name without the prefixes ``network.`` of this package's wrappers."""
    return re.sub(r"^(network\.)+", "", name)


def _features_first(name: str, output: object, images: Tensor) -> Tensor:
    """Return the output of the layer `name` for `images` as [N, d], [N, d, T] or [N, d, H, W].

    Tokens are [N, T, d] in every network. Maps are [N, d, H, W] except in a few transformers: maps of square images are
    square too, which identifies [N, H, H, d].

    Raises
    ------
    FeaturePathsError
        If it is not a tensor, or not [N, d], tokens [N, T, d] or maps [N, d, H, W].
    """
    if not isinstance(output, Tensor):
        raise FeaturePathsError(f"Layer {name} returns a {type(output).__name__}, not a tensor. Choose another.")
    if not 2 <= output.dim() <= 4 or len(output) != len(images):
        raise FeaturePathsError(
            f"Layer {name} returns {list(output.shape)} for {len(images)} images, not [N, d], tokens [N, T, d] or "
            "maps [N, d, H, W]. Choose another layer."
        )
    if output.dim() == 3:
        return output.movedim(2, 1)
    square_images = images.shape[-2] == images.shape[-1]
    if output.dim() == 4 and square_images and output.shape[1] == output.shape[2] != output.shape[3]:
        return output.movedim(3, 1)
    return output


def layer_shapes(network: nn.Module, layers: Sequence[str], image_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shape of each layer's output for one image of `image_shape`, measured by running the network."""
    was_training = network.training
    images = torch.zeros(1, *image_shape, device=device_of(network))
    with torch.no_grad():
        _, outputs = forward_intermediates(network.eval(), images, layers)
    network.train(was_training)
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
    """A network whose passes are computed in a precision, from images in float32 to logits in float32.

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
            output = self.network(images.contiguous(memory_format=self.memory_format))
        return logits_of(output, images).float()
