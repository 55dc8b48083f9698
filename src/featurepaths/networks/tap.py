"""Reading the output of any named layer of any network during a forward pass."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def forward_intermediates(network: nn.Module, images: Tensor, layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Run `network` once and return its logits and the outputs of the modules named `layers`, in that order.

    Raises
    ------
    AttributeError
        If the network has no module of such a name.
    """
    found: dict[str, Tensor] = {}
    logits = forward_seeing(network, images, layers, found.__setitem__)
    return logits, [found[name] for name in layers]


def forward_seeing(
    network: nn.Module, images: Tensor, layers: Sequence[str], see: Callable[[str, Tensor], None]
) -> Tensor:
    """Run `network` once and return its logits; call `see` with a layer's name and output whenever it has one.

    What `see` does not keep is free for the layers that follow.

    Raises
    ------
    AttributeError
        If the network has no module of such a name.
    """

    def hook_of(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            see(name, output)

        return hook

    handles = [network.get_submodule(name).register_forward_hook(hook_of(name)) for name in layers]
    try:
        return network(images)
    finally:
        for handle in handles:
            handle.remove()


def layer_shapes(network: nn.Module, layers: Sequence[str], image_shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shape of each layer's output for one image of `image_shape`, counted by running the network."""
    was_training = network.training
    device = next(network.parameters()).device
    with torch.no_grad():
        _, outputs = forward_intermediates(network.eval(), torch.zeros(1, *image_shape, device=device), layers)
    network.train(was_training)
    return [tuple(output.shape[1:]) for output in outputs]
