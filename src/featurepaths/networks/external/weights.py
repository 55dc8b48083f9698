"""Weights that users bring, in safetensors or in a state dict that PyTorch saved; nothing in them is executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.store.seal import check_zip

NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
"""Under which of its keys a checkpoint may hold the state dict."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What wrappers (data parallelism, `torch.compile`, training frameworks) put before all names."""
NAMED = 8  # how many names an error gives of each kind


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a ``.safetensors``, ``.pt`` or ``.pth`` file, by name.

    A state dict may stand under one of the keys `NESTED`.

    Raises
    ------
    FeaturePathsError
        If the file is missing or damaged, would execute code, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FeaturePathsError(f"There is no checkpoint {path}.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if is_zipfile(path):
            check_zip(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise FeaturePathsError(f"{path} is no whole safetensors file ({error}).") from error
    except Exception as error:  # an unpickler that is given nonsense raises anything
        # of torch's own words only what it would not run: they recommend to run it
        refused = [line.strip() for line in str(error).splitlines() if "GLOBAL" in line]
        reason = refused[0] if refused else type(error).__name__
        raise FeaturePathsError(
            f"{path} is no state dict that can be read without executing what is in it, or is damaged ({reason}). Save "
            "nothing but tensors: torch.save(network.state_dict(), path), or safetensors."
        ) from error
    return _state_dict(found, path)


def _state_dict(found: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(found, Mapping) and not all(isinstance(value, Tensor) for value in found.values()):
        inner = next((found[key] for key in NESTED if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, Mapping) or not found:
        raise FeaturePathsError(f"{path} holds a {type(found).__name__}, not a state dict.")
    odd = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        raise FeaturePathsError(
            f"{path} holds no state dict, nor one under {', '.join(NESTED)}: {', '.join(odd[:NAMED])} "
            f"{'is no tensor' if len(odd) == 1 else 'are no tensors'}."
        )
    return {str(name): value for name, value in found.items()}


def fit_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Give a network its weights; what wrappers put before all names is taken off where the network has it not.

    Raises
    ------
    FeaturePathsError
        Naming the weights that the network lacks, the file lacks, or that have another shape.
    """
    expected = network.state_dict()
    weights = dict(weights)
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            if all(name.startswith(prefix) for name in weights) and not any(
                name.startswith(prefix) for name in expected
            ):
                weights = {name.removeprefix(prefix): value for name, value in weights.items()}
                stripped = True
    problems = {
        # counters that old versions of PyTorch did not save may be missing
        "missing in the file": [
            name for name in expected if name not in weights and not name.endswith("num_batches_tracked")
        ],
        "unknown to the network": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} {list(value.shape)} instead of {list(expected[name].shape)}"
            for name, value in weights.items()
            if name in expected and value.shape != expected[name].shape
        ],
    }
    lines = [
        f"  {len(names)} {what}: {', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)}"
        for what, names in problems.items()
        if names
    ]
    if lines:
        raise FeaturePathsError("\n".join([f"{path} does not fit the network:", *lines]))
    network.load_state_dict(weights, strict=False)
