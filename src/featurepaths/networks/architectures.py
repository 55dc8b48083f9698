"""The paper's architectures as numbers (Table 1); without torch, so that the configuration can read them."""

from collections.abc import Mapping

BLOCKS = {"resnet20": (2, 3, 4), "resnet18": (2, 2, 2, 2)}
"""Residual blocks in each stage. The paper's K is the number of stages."""


def layer_count(architecture: str) -> int:
    """Return the number of layers, that is of residual blocks."""
    return sum(BLOCKS[architecture])


def missing_layers(named: Mapping[str, int], count: int, network: str) -> list[str]:
    """Return a message for each configuration key that needs more layers than the `count` a network has.

    Parameters
    ----------
    named
        Number of the last layer needed, by key.
    network
        Name of the network.
    """
    return [
        f"{key}: there is no layer {number}; {network} has {count} layer{'s' * (count > 1)}"
        for key, number in named.items()
        if number > count
    ]
