"""Choosing the modules of a network that are its layers: by name, by pattern, or automatically its blocks."""

import difflib
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase

import torch
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.blocks import find_blocks
from featurepaths.networks.external.inputs import check_accepted
from featurepaths.networks.forward import forward_intermediates, layer_module
from featurepaths.networks.running import blank_images, evaluation_mode

NAMED = 12  # number of modules in an error


def find_layers(network: nn.Module, layers: str | Sequence[str], image_shape: Sequence[int]) -> list[str]:
    """Return the names of the modules that are the network's layers. The network stays as it is.

    Parameters
    ----------
    network
        In evaluation or training mode; it is run in evaluation mode.
    layers
        A list of module names, whose order is kept, or one string. ``auto`` selects the network's blocks (residual
        blocks, transformer blocks, ...): see `featurepaths.networks.blocks.find_blocks`. Any other string is a pattern
        such as ``layer?.*``, matched part by part between the dots. Both return the modules in the order in which they
        run.
    image_shape
        Channels, height and width of the images that the network is tried on.

    Raises
    ------
    FeaturePathsError
        If there is no such module, or one does not run exactly once in a pass, does not return a tensor with a feature
        for each image, or has its output changed in place by a later module.
    """
    check_accepted(network, image_shape)
    if isinstance(layers, str):
        names = find_blocks(network, image_shape) if layers == "auto" else _matching(network, layers)
        if not names:
            raise FeaturePathsError(f"The network has no repeated blocks. Name its layers. {_module_names(network)}")
        return _run_order(network, names, image_shape)
    modules = dict(network.named_modules())
    for name in layers:
        if name not in modules or not name:
            suggestions = difflib.get_close_matches(name, modules, n=3)
            hint = f"Did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else _module_names(network)
            raise FeaturePathsError(f"The network has no module '{name}', named as a layer. {hint}")
    _run_order(network, layers, image_shape)
    return list(layers)


def _matching(network: nn.Module, pattern: str) -> list[str]:
    parts = pattern.split(".")

    def matches(name: str) -> bool:
        names = name.split(".")
        return len(names) == len(parts) and all(map(fnmatchcase, names, parts))

    matching = [name for name, _ in network.named_modules() if name and matches(name)]
    if not matching:
        raise FeaturePathsError(f"No module of the network matches '{pattern}'. {_module_names(network)}")
    return matching


def _run_order(network: nn.Module, names: Sequence[str], image_shape: Sequence[int]) -> list[str]:
    """Run the network on two blank images and return the names in the order in which they ran."""
    order: dict[str, None] = {}
    images = blank_images(network, 2, image_shape)
    with ExitStack() as handles:
        for name in names:
            hook = lambda *arguments, name=name: order.setdefault(name)  # noqa: E731
            handles.enter_context(layer_module(network, name).register_forward_hook(hook))
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(network):
            forward_intermediates(network, images, names)
    return list(order)


def _module_names(network: nn.Module) -> str:
    """Return a sentence with the names of the outermost modules of a network."""
    names = sorted((name for name, _ in network.named_modules() if name), key=lambda name: name.count("."))
    more = f", ... and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"Its modules are {', '.join(names[:NAMED])}{more}."
