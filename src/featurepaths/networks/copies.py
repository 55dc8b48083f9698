"""Deep copies of networks, including ones that keep computed weights between passes."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def copy_of(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network, its weights and buffers apart from the original's.

    torch copies only leaf tensors. Modules that compute a weight before each pass and keep it (weight normalisation,
    pruning, spectral normalisation) keep a tensor of a graph; the copy has its values, and computes it again in its
    next pass.
    """
    kept = [each for module in network.modules() for each in _computed([vars(module), module._buffers])]
    return copy.deepcopy(network, {id(tensor): tensor.detach().clone() for tensor in kept})


def _computed(kept: Any) -> Iterator[Tensor]:
    """Yield the tensors among a module's attributes that are part of a graph."""
    if isinstance(kept, Tensor) and not kept.is_leaf:
        yield kept
    elif isinstance(kept, dict | list | tuple):
        for each in kept.values() if isinstance(kept, dict) else kept:
            yield from _computed(each)
