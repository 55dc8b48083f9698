"""Fitting weights that were read from a file to an external network, by their names and shapes."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.networks.checkpoint import STATISTICS
from featurepaths.networks.external.files import AVERAGED, NAMED

PREFIXES = 8
"""Number of changes of prefixes that are tried: those that fit most names."""
ALIKE = 64
"""Number of names with the same ending up to which an ending says something about prefixes."""
FEW = 4  # number of values up to which a message has those of a tensor
COUNTERS = "num_batches_tracked"
"""Ending of statistics that old versions of PyTorch did not save."""


def fit_weights(network: nn.Module, weights: Mapping[str, Any], path: Path) -> list[str]:
    """Load weights into a network, by names without or with prefixes, and return sentences on what was left out.

    Names may have a prefix that wrappers added, or lack one that the network's have. Tensors of modules that the
    network does not have at all, such as a metric's, are left out. Buffers that are missing, other than statistics,
    stay as the factory built them, and tied weights need only one of their names.

    Raises
    ------
    FeaturePathsError
        If weights are missing in the file, unknown to the network, or of another shape; it names them. If two sets of
        weights fit equally well.
    """
    expected = network.state_dict()
    removed, added = _prefixes(expected, weights, path)
    renamed = {name: added + name.removeprefix(removed) for name in weights if name.startswith(removed)}
    fitted = {renamed[name]: weights[name] for name in renamed if renamed[name] in expected}
    modules = {_top_module(name.removeprefix(added)) for name in expected if name.startswith(added)}
    unknown = [name for name in renamed if renamed[name] not in expected]
    in_modules = [renamed[name] for name in unknown if _top_module(name.removeprefix(removed)) in modules]
    loaded = {*fitted, *in_modules}
    left_out = sorted((name for name in weights if renamed.get(name) not in loaded), key=lambda name: name.count("."))
    missing, built = _absent(network, expected, fitted)
    wrong_shape = [
        f"{name} {_shape(value)} in the file, {_shape(expected[name])} in the network"
        for name, value in fitted.items()
        if not _alike(value, expected[name])
    ]
    if missing or wrong_shape or in_modules:
        unknown = [*in_modules, *(renamed.get(name, name) for name in left_out)]
        problems = {"missing in the file": missing, "unknown to the network": unknown, "of another shape": wrong_shape}
        lines = [f"  {len(names)} {problem}: {_listed(names)}" for problem, names in problems.items() if names]
        raise FeaturePathsError("\n".join([f"{path} does not fit the network:", *lines, *_other_loader(network)]))
    with reported(f"{path} does not fit the network", RuntimeError):
        network.load_state_dict(fitted, strict=False)
    notes = {
        "prefix taken off": [removed] if removed else [],
        "prefix put on": [added] if added else [],
        "left out": _with_values(left_out, weights),
        "not in the file, left as built": _with_values(built, expected),
    }
    return [f"{path}: {note}: {_listed(names)}" for note, names in notes.items() if names]


def _prefixes(expected: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> tuple[str, str]:
    """Return the prefix to take off the names of weights, and the one to put on, with which most of them fit."""
    starts = defaultdict(list)  # of the network's names, by what follows them
    for name in expected:
        for start, end in _splits(name):
            starts[end].append(start)
    votes: Counter[tuple[str, str]] = Counter()
    for name in weights:
        removed, end = next((split for split in _splits(name) if split[1] in starts), ("", ""))
        if len(starts.get(end, ())) <= ALIKE:
            votes.update((removed, added) for added in starts.get(end, ()))

    def fitting(removed: str, added: str) -> dict[str, Any]:
        values = {added + name.removeprefix(removed): weights[name] for name in weights if name.startswith(removed)}
        return {name: values[name] for name in expected if name in values and _alike(values[name], expected[name])}

    fits = {pair: fitting(*pair) for pair in [("", ""), *(pair for pair, _ in votes.most_common(PREFIXES))]}
    best, *others = sorted(fits, key=lambda pair: (-len(fits[pair]), not AVERAGED.search(pair[0]), len("".join(pair))))
    for other in others if fits[best] and not AVERAGED.search(best[0]) else []:
        if fits[other].keys() == fits[best].keys() and not all(map(_equal, fits[best].values(), fits[other].values())):
            raise FeaturePathsError(
                f"{path} holds weights that fit under '{best[0]}' and under '{other[0]}'. Choose one, as by "
                f"checkpoint_key: {(best[0] or other[0]).strip('.')}, or save one alone."
            )
    return best


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield every division of a name before one of its parts, the longest ends first."""
    parts = name.split(".")
    for count in range(len(parts)):
        yield "".join(f"{part}." for part in parts[:count]), ".".join(parts[count:])


def _absent(network: nn.Module, expected: Mapping[str, Any], fitted: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names of a network that are not among the fitted ones: those that are needed, and the others.

    Tensors in the same memory as a fitted one are not absent.
    """
    present = {_memory(expected[name]) for name in fitted} - {None}
    parameters = dict(network.named_parameters(remove_duplicate=False))
    absent = [name for name in expected if name not in fitted and _memory(expected[name]) not in present]
    missing = [name for name in absent if name in parameters or name.endswith(STATISTICS)]
    return missing, [name for name in absent if name not in missing and not name.endswith(COUNTERS)]


def _memory(value: Any) -> tuple | None:
    """Return the address of a tensor's memory, and its shape; None for anything without memory."""
    return (value.data_ptr(), value.shape) if isinstance(value, Tensor) and value.numel() > 0 else None


def _top_module(name: str) -> str:
    """Return the first part of a name, without digits: blocks of a kind have the same."""
    return re.sub(r"\d+", "", name.split(".")[0])


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _alike(value: Any, other: Any) -> bool:
    """Return whether two entries of a state are tensors of one shape, or both none."""
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape == other.shape
    return not isinstance(value, Tensor) and not isinstance(other, Tensor)


def _equal(value: Any, other: Any) -> bool:
    return value is other or (isinstance(value, Tensor) and torch.equal(value, other))


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)}"


def _with_values(names: list[str], values: Mapping[str, Any]) -> list[str]:
    """Return names, with the values of tensors of few: a mean or a standard deviation may be among them."""
    few = {
        name: [round(value, 4) for value in values[name].flatten().tolist()]
        for name in names
        if isinstance(values[name], Tensor) and values[name].numel() <= FEW
    }
    return [f"{name} {few[name]}" if name in few else name for name in names]


def _other_loader(network: nn.Module) -> Iterator[str]:
    """Yield what to do about weights whose names only the network's own library knows how to change."""
    if hasattr(network, "from_pretrained"):
        kind = type(network).__name__
        yield f"Weights that save_pretrained wrote: let factory: transformers:{kind}.from_pretrained read the folder."
    elif hasattr(network, "pretrained_cfg"):
        yield "Weights of an earlier layout: let timm read them, by arguments: {checkpoint_path: ...}."
