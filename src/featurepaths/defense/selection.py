"""Selection of the middle layers that vote (the paper's section 2.3)."""

import numpy as np

from featurepaths.defense.votes import nearest_classes
from featurepaths.paths.records import FeaturePaths

MIDDLE_LAYERS = (2, 3, 4)
"""The paper's voting layers."""


def middle_layers(count: int) -> list[int]:
    """Return those of `MIDDLE_LAYERS` that a network of `count` layers has."""
    return [layer for layer in MIDDLE_LAYERS if layer <= count]


def layer_accuracy(paths: FeaturePaths) -> np.ndarray:
    """Return the accuracy of each layer's nearest centroid alone: [L]."""
    return accuracy_of_votes(paths.map_rows(nearest_classes), paths.labels)


def accuracy_of_votes(votes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of images whose class, `labels` [N], each layer votes for, by votes [N, L]: [L]."""
    return (votes == labels[:, None]).mean(axis=0)


def best_layers(adversarial_accuracy: np.ndarray, count: int) -> list[int]:
    """Return the `count` layers with the greatest adversarial accuracy [L], numbered from 1 and in ascending order.

    Of equal layers the earlier one is selected, because attacks move the later ones.
    """
    order = np.argsort(-adversarial_accuracy, kind="stable")[:count]
    return sorted(int(layer) + 1 for layer in order)
