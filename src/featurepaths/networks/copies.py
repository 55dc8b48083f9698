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
    values = [value for module in network.modules() for value in _computed([vars(module), module._buffers])]
    return copy.deepcopy(network, {id(tensor): tensor.detach().clone() for tensor in values})


def _computed(values: Any) -> Iterator[Tensor]:
    """Yield the tensors among a module's attributes that are part of a graph."""
    if isinstance(values, Tensor) and not values.is_leaf:
        yield values
    elif isinstance(values, dict | list | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _computed(value)
