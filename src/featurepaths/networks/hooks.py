"""Reading the output of any named layer of any network during a forward pass."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError

WRAPPED = "network."
"""What our wrappers put before a module's name."""


def forward_intermediates(network: nn.Module, images: Tensor, layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Run `network` once and return its logits and the outputs of the modules named `layers`, in that order.

    Outputs and errors are those of `forward_seeing`.
    """
    found: dict[str, Tensor] = {}
    logits = forward_seeing(network, images, layers, found.__setitem__)
    return logits, [found[name] for name in layers]


def forward_seeing(
    network: nn.Module, images: Tensor, layers: Sequence[str], see: Callable[[str, Tensor], None]
) -> Tensor:
    """Run `network` once and return its logits; call `see` with a layer's name and output whenever it has one.

    What `see` does not keep is free for the layers that follow. Outputs are given features first: see `features_first`.

    Raises
    ------
    AttributeError
        If the network has no module of such a name.
    FeaturePathsError
        If a module does not run just once, or does not give a tensor with a feature for each image.
    """
    is_square = images.shape[-2] == images.shape[-1]
    left = set(layers)

    def hook_of(name: str):
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            if name not in left:
                raise FeaturePathsError(f"Layer {called(name)} runs more than once in a pass: name another.")
            left.remove(name)
            see(name, features_first(as_tensor(name, output, len(images)), is_square))

        return hook

    handles = [network.get_submodule(name).register_forward_hook(hook_of(name)) for name in layers]
    try:
        logits = network(images)
    finally:
        for handle in handles:
            handle.remove()
    if left:
        raise FeaturePathsError(f"Layer {called(min(left))} does not run when the network does: name another.")
    return logits


def called(name: str) -> str:
    """Return what users call a module that may stand in wrappers of ours."""
    while name.startswith(WRAPPED):
        name = name.removeprefix(WRAPPED)
    return name


def as_tensor(name: str, output: object, count: int) -> Tensor:
    """Return what the module `name` gave for `count` images, if that can be a layer's output.

    Raises
    ------
    FeaturePathsError
        If it is no tensor, or not [N, d], tokens [N, T, d] or maps [N, d, H, W].
    """
    if not isinstance(output, Tensor):
        raise FeaturePathsError(f"Layer {called(name)} gives a {type(output).__name__}, not a tensor: name another.")
    if not 2 <= output.dim() <= 4 or len(output) != count:
        raise FeaturePathsError(
            f"Layer {called(name)} gives {list(output.shape)} for {count} images, not [N, d], tokens [N, T, d] or maps "
            "[N, d, H, W]: name another."
        )
    return output


def features_first(output: Tensor, of_square_images: bool) -> Tensor:
    """Return a layer's output as [N, d], [N, d, T] or [N, d, H, W].

    Tokens are [N, T, d] in every network. Maps are [N, d, H, W] but in a few transformers: of square images a map is
    square too, so that [N, H, H, d] can be told.
    """
    if output.dim() == 3:
        return output.movedim(2, 1)
    if output.dim() == 4 and of_square_images and output.shape[1] == output.shape[2] != output.shape[3]:
        return output.movedim(3, 1)
    return output


def layer_shapes(network: nn.Module, layers: Sequence[str], image_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shape of each layer's output for one image of `image_shape`, counted by running the network."""
    was_training = network.training
    device = next(network.parameters()).device
    with torch.no_grad():
        _, outputs = forward_intermediates(network.eval(), torch.zeros(1, *image_shape, device=device), layers)
    network.train(was_training)
    return [tuple(output.shape[1:]) for output in outputs]
