"""Which modules of a network are its layers: named, by a pattern, or its blocks, found."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.hooks import as_tensor

CONTAINERS = (nn.Sequential, nn.ModuleList)
"""What blocks are held in. A subclass does something of its own: it is a block."""
NAMED = 12  # how many modules an error names
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What networks raise on images of a shape that they do not take."""
SIZES = (16, 28, 32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
"""Heights and widths that networks are made for."""


def find_layers(network: nn.Module, wanted: str | Sequence[str], image_shape: Sequence[int]) -> list[str]:
    """Return the names of the modules that are the network's layers.

    Parameters
    ----------
    network
        In evaluation mode.
    wanted
        Names of modules, whose order stays; or one text. ``auto`` finds the network's blocks (residual blocks,
        transformer blocks, ...): the outermost modules with modules in them, not counting plain containers, of a class
        that is there more than once; of several classes the one that is there most often; of stages that hold
        ``blocks`` these. Anything else is a pattern such as ``layer?.*``, matched part by part between the dots. Both
        give them in the order they run in.
    image_shape
        Channels, height and width of what the network is given, to try it on.

    Raises
    ------
    FeaturePathsError
        If there is no such module, or one does not run exactly once in a pass, gives anything but a tensor with a
        feature for each image, or is changed in place by what follows it.
    """
    if isinstance(wanted, str):
        found = _blocks(network) if wanted == "auto" else _matching(network, wanted)
        order = _try_out(network, found, image_shape)
        return sorted(found, key=order.index)
    known = dict(network.named_modules())
    for name in wanted:
        if name not in known or not name:
            close = difflib.get_close_matches(name, known, n=3)
            meant = f"did you mean {' or '.join(map(repr, close))}?" if close else _known(known)
            raise FeaturePathsError(f"The network has no module '{name}' to be a layer; {meant}")
    _try_out(network, wanted, image_shape)
    return list(wanted)


def _blocks(network: nn.Module) -> list[str]:
    around = [("", network)]
    while around:
        inside = [pair for name, module in around for pair in _children(name, module)]
        by_class: dict[type, list[tuple[str, nn.Module]]] = {}
        for name, module in inside:
            by_class.setdefault(type(module), []).append((name, module))
        found = max(by_class.values(), key=len, default=[])
        if len(found) > 1:
            blocks = [pair for name, stage in found if hasattr(stage, "blocks") for pair in _children(name, stage)]
            return [name for name, _ in blocks or found]
        around = inside
    known = dict(network.named_modules())
    raise FeaturePathsError(f"No repeated blocks are found in the network; name its layers. {_known(known)}")


def _children(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the children of a module that have children themselves, by name; containers give theirs instead."""
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

    known = dict(network.named_modules())
    found = [name for name in known if name and matches(name)]
    if not found:
        raise FeaturePathsError(f"No module of the network matches '{pattern}'. {_known(known)}")
    return found


def _try_out(network: nn.Module, names: Sequence[str], image_shape: Sequence[int]) -> list[str]:
    """Run the network on two blank images and return the names in the order in which they ran."""
    ran: list[tuple[str, object, int]] = []

    def keep(name: str):
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            ran.append((name, output, _version(output)))

        return hook

    device = next(network.parameters()).device
    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        with torch.no_grad():
            network(torch.zeros(2, *image_shape, device=device))
    except REFUSALS as error:
        shape = "x".join(map(str, image_shape))
        hint = _other_size(network, image_shape[0], device)
        raise FeaturePathsError(f"The network cannot take images of {shape} ({error}).{hint}") from error
    finally:
        for handle in handles:
            handle.remove()
    order = [name for name, _, _ in ran]
    for name in names:
        if order.count(name) != 1:
            raise FeaturePathsError(f"Module '{name}' runs {order.count(name)} times in a pass; a layer runs once.")
    for name, output, version in ran:
        output = as_tensor(name, output, 2)
        if _version(output) != version:
            raise FeaturePathsError(
                f"What module '{name}' gives is changed in place by what follows. Take that as the layer instead."
            )
    return order


def _version(output: object) -> int:
    """Return how often a tensor was changed in place; what was made in inference mode does not know."""
    return output._version if isinstance(output, Tensor) and not output.is_inference() else 0


def _other_size(network: nn.Module, channels: int, device: torch.device) -> str:
    """Return in words which common size of images a network takes; nothing if it takes none."""
    for size in SIZES:
        try:
            with torch.no_grad():
                network(torch.zeros(2, channels, size, size, device=device))
        except REFUSALS:
            continue
        return f" It takes {channels}x{size}x{size}: set the model's size to {size}, to which images are then resized."
    return ""


def _known(names: Iterable[str]) -> str:
    found = [name for name in names if name]
    more = f", ... and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"Its modules are {', '.join(_shallow(found))}{more}."


def _shallow(names: Sequence[str]) -> Iterator[str]:
    yield from sorted(names, key=lambda name: name.count("."))[:NAMED]
