"""Weights of external networks, from safetensors or a state dict saved by PyTorch; nothing in them is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.store.seal import check_zip

NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which a checkpoint may hold the state dict."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that wrappers (data parallelism, `torch.compile`, training frameworks) add to all names."""
NAMED = 8  # number of names of each kind in an error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a ``.safetensors``, ``.pt`` or ``.pth`` file, by name.

    A state dict may be nested under one of the keys `NESTED`.

    Raises
    ------
    FeaturePathsError
        If the file is missing or damaged, would execute code, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FeaturePathsError(f"There is no checkpoint {path}. Correct the path of the weights.")
    if path.suffix == ".safetensors":
        with reported(f"{path} is not a complete safetensors file", Exception, remedy="Copy it again."):
            return load_file(path)
    try:
        if is_zipfile(path):
            check_zip(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler raises anything on damaged input
        # of torch's message only what it refused to run: the rest recommends running it
        refused = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line]
        reason = refused[0] if refused else type(error).__name__
        raise FeaturePathsError(
            f"{path} is damaged, or cannot be read without executing code in it ({reason}). Save only tensors: "
            "torch.save(network.state_dict(), path), or safetensors."
        ) from error
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping) and not all(isinstance(value, Tensor) for value in content.values()):
        nested = [content[key] for key in NESTED if isinstance(content.get(key), Mapping)]
        if not nested:
            break
        content = nested[0]
    entries = content if isinstance(content, Mapping) else {}
    others = [str(name) for name, value in entries.items() if not isinstance(value, Tensor)]
    if others or not entries:
        named = f" Entries that are not tensors: {', '.join(others[:NAMED])}." if others else ""
        raise FeaturePathsError(
            f"{path} holds a {type(content).__name__}, no state dict, nor one under {', '.join(NESTED)}.{named} Save "
            "network.state_dict()."
        )
    return {str(name): value for name, value in entries.items()}


def fit_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a network; prefixes of wrappers are removed unless the network's own names have them.

    Raises
    ------
    FeaturePathsError
        If weights are missing in the file, unknown to the network, or of another shape; it names them.
    """
    expected = network.state_dict()
    weights = dict(weights)
    removable = [prefix for prefix in PREFIXES if not any(name.startswith(prefix) for name in expected)]
    while shared := [prefix for prefix in removable if all(name.startswith(prefix) for name in weights)]:
        weights = {name.removeprefix(shared[0]): value for name, value in weights.items()}
    # old versions of PyTorch did not save num_batches_tracked
    required = [name for name in expected if not name.endswith("num_batches_tracked")]
    shapes = {name: (list(weights[name].shape), list(expected[name].shape)) for name in weights if name in expected}
    problems = {
        "missing in the file": [name for name in required if name not in weights],
        "unknown to the network": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} {own} instead of {other}" for name, (own, other) in shapes.items() if own != other
        ],
    }
    lines = [
        f"  {len(names)} {problem}: {', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)}"
        for problem, names in problems.items()
        if names
    ]
    if lines:
        raise FeaturePathsError("\n".join([f"{path} does not fit the network:", *lines]))
    network.load_state_dict(weights, strict=False)
