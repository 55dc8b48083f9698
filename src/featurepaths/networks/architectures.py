"""The paper's architectures as numbers (Table 1); this module needs no torch, so that the configuration can read it."""

from collections.abc import Mapping

BLOCKS = {"resnet20": (2, 3, 4), "resnet18": (2, 2, 2, 2)}
"""Residual blocks in each stage. The paper's K is the number of stages."""


def layer_count(architecture: str) -> int:
    """Return the number of layers, that is of residual blocks."""
    return sum(BLOCKS[architecture])


def missing_layers(named: Mapping[str, int], count: int, network: str) -> list[str]:
    """Return what is wrong where the configuration needs more layers than a network has, `count`.

    Parameters
    ----------
    named
        How many are needed, by the key that says so.
    network
        What the network is called.
    """
    return [
        f"{key}: there is no layer {number}; {network} has {count} layer{'s' * (count > 1)}"
        for key, number in named.items()
        if number > count
    ]
