"""Detecting networks whose outputs are probabilities instead of logits."""

import warnings

from torch import Tensor

from featurepaths.networks.warnings import DOUBTS

TOLERANCE = 1e-3
"""Tolerance on the sum of probabilities."""


def are_probabilities(logits: Tensor) -> bool:
    """Return whether all logits [N, C] look like probabilities: none is negative, and every row sums to 1."""
    return bool((logits >= 0).all() and ((logits.sum(dim=1) - 1).abs() <= TOLERANCE).all())


def warn_of_probabilities(logits: Tensor) -> None:
    """Issue a Python warning if logits [N, C] look like probabilities."""
    if are_probabilities(logits):
        warnings.warn(DOUBTS["probabilities"], UserWarning, stacklevel=2)
