"""The paper's architectures as numbers (Table 1); this module needs no torch, so that the configuration can read it."""

BLOCKS = {"resnet20": (2, 3, 4), "resnet18": (2, 2, 2, 2)}
"""Residual blocks in each stage. The paper's K is the number of stages."""


def layer_count(architecture: str) -> int:
    """Return the number of layers, that is of residual blocks."""
    return sum(BLOCKS[architecture])
