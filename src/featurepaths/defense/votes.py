"""Recognition by the vote of layers: the paper's eqs. (6) and (7)."""

from collections.abc import Sequence

import numpy as np

from featurepaths.paths.equations import class_scores, select_layers

TIE_BREAKS = ("last-layer", "summed-similarity")


def nearest_classes(similarity: np.ndarray) -> np.ndarray:
    """Return argmax_m s_m^l of similarities [N, L, C]: the class each layer votes for, int [N, L]."""
    return similarity.argmax(axis=2)


def vote(similarity: np.ndarray, layers: Sequence[int], weights: np.ndarray, tie_break: str) -> np.ndarray:
    """Return the class of the weighted vote of `layers` for each image, eqs. (6) and (7): int [N].

    Parameters
    ----------
    similarity
        Similarities [N, L, C].
    layers, weights
        The voting layers, numbered from 1 and in ascending order, and the weight of each.
    tie_break
        The rule for classes with equal score. ``last-layer``: the last of the layers that vote for any of them decides,
        as in the paper ("the prediction from the last layer in L'"). ``summed-similarity``: the greatest weighted
        similarity, eq. (3), over the voting layers.
    """
    classes = similarity.shape[2]
    votes = select_layers(nearest_classes(similarity), layers)
    ballots = votes[:, :, None] == np.arange(classes)
    score = np.einsum("nlc,l->nc", ballots.astype(np.float64), weights)
    winners = score >= score.max(axis=1, keepdims=True) - 1e-9  # sums of the same weights may differ in the last bits
    match tie_break:
        case "summed-similarity":
            preference = class_scores(similarity, layers, weights)
        case "last-layer":  # the position of the last layer that voted for the class
            preference = (ballots * np.arange(1, len(layers) + 1)[:, None]).max(axis=1)
        case _:
            raise ValueError(f"tie_break is {tie_break!r}; use one of {', '.join(TIE_BREAKS)}.")
    return np.where(winners, preference, -np.inf).argmax(axis=1)


def recognise(network_predictions: np.ndarray, flagged: np.ndarray, voted: np.ndarray) -> np.ndarray:
    """Return the label of the whole method: the network's, or the vote where an image is flagged (section 2.3)."""
    return np.where(flagged, voted, network_predictions)
