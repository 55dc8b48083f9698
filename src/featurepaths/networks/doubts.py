"""What makes the figures of a network doubtful without being wrong: named where it is taken, and in the verdict."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the verdict needs no torch
    from torch import Tensor

DOUBTS = {
    "probabilities": "The network's outputs look like probabilities, not logits: they lie in [0, 1] and sum to 1. "
    "Attacks on the cross-entropy are weak on such a network, and energy and confidence are other scores. Leave out "
    "the softmax at its end.",
    "gradient": "The gradient of the network's logits was zero, or not finite, in every pixel of all images that were "
    "tried: something rounds, quantises or clips, or the last layer's weights are zero. Attacks by gradients cannot "
    "succeed then, which says nothing about robustness.",
}
"""In words, by the names that checkpoints hold."""
TOLERANCE = 1e-3
"""How far rounding may move the sum of probabilities from 1."""


def are_probabilities(logits: Tensor) -> bool:
    """Return whether all logits [N, C] look like probabilities: none is negative, and every row sums to 1."""
    return bool((logits >= 0).all() and ((logits.sum(dim=1) - 1).abs() <= TOLERANCE).all())


def warn_of_probabilities(logits: Tensor) -> None:
    """Warn by Python's warnings if logits [N, C] look like probabilities."""
    if are_probabilities(logits):
        warnings.warn(DOUBTS["probabilities"], UserWarning, stacklevel=2)
