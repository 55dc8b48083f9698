"""Warnings about networks whose results are valid but doubtful; without torch, so that the verdict can read them."""

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-3
"""Tolerance on the sum of probabilities."""

DOUBTS = {
    "probabilities": "The network's outputs look like probabilities, not logits: they lie in [0, 1] and sum to 1. "
    "Attacks on the cross-entropy are weak on such a network, and the scores energy and confidence change. Remove the "
    "softmax at its end.",
    "gradient": "The gradient of the network's logits was zero, or not finite, in every pixel of all test images: "
    "the network rounds, quantises or clips values, or its last layer's weights are zero. Gradient attacks then fail, "
    "which is no evidence of robustness.",
}
"""Messages by the names that checkpoints hold."""


def are_probabilities(logits: "Tensor") -> bool:
    """Return whether all logits [N, C] look like probabilities: none is negative, and every row sums to 1."""
    return bool((logits >= 0).all() and ((logits.sum(dim=1) - 1).abs() <= TOLERANCE).all())


def warn_of_probabilities(logits: "Tensor") -> None:
    """Issue a Python warning if logits [N, C] look like probabilities."""
    if are_probabilities(logits):
        warnings.warn(DOUBTS["probabilities"], UserWarning, stacklevel=2)
