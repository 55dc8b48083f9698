"""Forward hooks: the outputs of named layers of any network, read during a forward pass."""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError


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
        logits = network(images)
    if pending:
        name = user_name(min(pending))
        raise FeaturePathsError(f"Layer {name} does not run when the network does. Choose another layer.")
    return logits


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
    device = next(network.parameters()).device
    with torch.no_grad():
        _, outputs = forward_intermediates(network.eval(), torch.zeros(1, *image_shape, device=device), layers)
    network.train(was_training)
    return [tuple(output.shape[1:]) for output in outputs]
