"""Choosing the modules of a network that are its layers: by name, by pattern, or automatically its blocks."""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.external.inputs import check_accepted
from featurepaths.networks.forward import device_of, forward_with_callback

CONTAINERS = (nn.Sequential, nn.ModuleList)
"""Classes that only contain blocks. A subclass of them is a block itself."""
NAMED = 12  # number of modules in an error


def find_layers(network: nn.Module, wanted: str | Sequence[str], image_shape: Sequence[int]) -> list[str]:
    """Return the names of the modules that are the network's layers.

    Parameters
    ----------
    network
        In evaluation mode.
    wanted
        A list of module names, whose order is kept, or one string. ``auto`` selects the network's blocks (residual
        blocks, transformer blocks, ...): the outermost modules that contain modules, plain containers not counted, of
        the class that occurs most often, more than once; if these are stages with ``blocks``, their blocks. Any other
        string is a pattern such as ``layer?.*``, matched part by part between the dots. Both return the modules in the
        order in which they run.
    image_shape
        Channels, height and width of the images that the network is tried on.

    Raises
    ------
    FeaturePathsError
        If there is no such module, or one does not run exactly once in a pass, does not return a tensor with a feature
        for each image, or has its output changed in place by a later module.
    """
    if isinstance(wanted, str):
        return _run_order(network, _blocks(network) if wanted == "auto" else _matching(network, wanted), image_shape)
    modules = dict(network.named_modules())
    for name in wanted:
        if name not in modules or not name:
            close = difflib.get_close_matches(name, modules, n=3)
            hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else _module_names(network)
            raise FeaturePathsError(f"The network has no module '{name}', named as a layer. {hint}")
    _run_order(network, wanted, image_shape)
    return list(wanted)


def _blocks(network: nn.Module) -> list[str]:
    modules = [("", network)]
    while modules := [pair for name, module in modules for pair in _children(name, module)]:
        [(kind, count)] = Counter(type(module) for _, module in modules).most_common(1)
        if count > 1:
            largest = [(name, module) for name, module in modules if type(module) is kind]
            blocks = [pair for name, stage in largest if hasattr(stage, "blocks") for pair in _children(name, stage)]
            return [name for name, _ in blocks or largest]
    raise FeaturePathsError(f"The network has no repeated blocks. Name its layers. {_module_names(network)}")


def _children(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children of a module that have children, by name; containers are replaced by theirs."""
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}".lstrip(".")
        if type(child) in CONTAINERS:
            yield from _children(path, child)
        elif next(child.children(), None) is not None:
            yield path, child


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
    outputs: dict[str, tuple[Tensor, int]] = {}

    def record(name: str, output: Tensor) -> None:
        outputs[name] = output, _version(output)

    check_accepted(network, image_shape)
    with torch.no_grad():
        forward_with_callback(network, torch.zeros(2, *image_shape, device=device_of(network)), names, record)
    for name, (output, version) in outputs.items():
        if _version(output) != version:
            raise FeaturePathsError(
                f"The output of module '{name}' is changed in place by a later module. Choose that one as the layer."
            )
    return list(outputs)


def _version(output: Tensor) -> int:
    """Return how often a tensor was changed in place: 0 for tensors of inference mode, which do not count it."""
    return 0 if output.is_inference() else output._version


def _module_names(network: nn.Module) -> str:
    """Return a sentence with the names of the outermost modules of a network."""
    names = sorted((name for name, _ in network.named_modules() if name), key=lambda name: name.count("."))
    more = f", ... and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"Its modules are {', '.join(names[:NAMED])}{more}."
