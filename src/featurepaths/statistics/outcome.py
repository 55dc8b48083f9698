"""Outcome of the whole method on clean images and their adversarial examples, as counts."""

import numpy as np

from featurepaths.defense.recognition import recognise
from featurepaths.paths.records import FeaturePaths
from featurepaths.statistics.groups import groups_of


def recognise_pair(
    clean: FeaturePaths,
    adversarial: FeaturePaths,
    flagged: tuple[np.ndarray, np.ndarray],
    votes: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the method's predictions for the clean and the adversarial images, int [N] each, and their counts.

    ``flagged_correct`` counts the flagged adversarial images whose vote is correct, ``successful_correct`` and
    ``unsuccessful_correct`` the adversarial images of each group (see `featurepaths.statistics.groups`) on which the
    method is correct, flagged or not.

    Parameters
    ----------
    flagged, votes
        Of clean and of adversarial images: whether each is flagged [N], and the class of its vote [N].
    """
    clean_predictions = recognise(clean.network_predictions, flagged[0], votes[0])
    adversarial_predictions = recognise(adversarial.network_predictions, flagged[1], votes[1])
    correct = adversarial_predictions == adversarial.labels
    groups = groups_of(clean.network_correct, adversarial.network_correct)
    counted = {
        "clean_correct": clean_predictions == clean.labels,
        "adversarial_correct": correct,
        "flagged_clean": flagged[0],
        "flagged_adversarial": flagged[1],
        "flagged_correct": correct & flagged[1],
        "successful_correct": correct & groups.successful,
        "unsuccessful_correct": correct & groups.unsuccessful,
    }
    counts = {name: int(images.sum()) for name, images in counted.items()}
    return clean_predictions, adversarial_predictions, counts
