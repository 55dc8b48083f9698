"""Which middle layers vote (the paper's section 2.3)."""

import numpy as np

from featurepaths.recognition.votes import nearest_classes


def layer_accuracy(similarity: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the accuracy of each layer's nearest centroid alone: similarities [N, L, C] and labels [N] to [L]."""
    return (nearest_classes(similarity) == labels[:, None]).mean(axis=0)


def best_layers(adversarial_accuracy: np.ndarray, count: int) -> list[int]:
    """Return the `count` layers with the greatest adversarial accuracy [L], numbered from 1 and in ascending order.

    Of equal layers the earlier one is taken: the later ones are those the attack has moved.
    """
    order = np.argsort(-adversarial_accuracy, kind="stable")[:count]
    return sorted(int(layer) + 1 for layer in order)
