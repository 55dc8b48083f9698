"""Outcome of the whole method on clean images and their adversarial examples, as counts."""

from dataclasses import dataclass

import numpy as np

from featurepaths.defense.recognition import recognise
from featurepaths.paths.records import FeaturePaths
from featurepaths.statistics.groups import groups_of


@dataclass(frozen=True)
class Outcome:
    """Counts over images.

    `flagged_correct` counts the flagged adversarial images whose vote is correct, `successful_correct` and
    `unsuccessful_correct` the adversarial images of each group (see `featurepaths.statistics.groups`) on which the
    method is correct, flagged or not.
    """

    clean_correct: int
    adversarial_correct: int
    flagged_clean: int
    flagged_adversarial: int
    flagged_correct: int
    successful_correct: int
    unsuccessful_correct: int


def recognise_pair(
    clean: FeaturePaths,
    adversarial: FeaturePaths,
    flagged: tuple[np.ndarray, np.ndarray],
    votes: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, Outcome]:
    """Return the method's predictions for the clean and the adversarial images, int [N] each, and their counts.

    Parameters
    ----------
    flagged, votes
        Of clean and of adversarial images: whether each is flagged [N], and the class of its vote [N].
    """
    clean_flagged, adversarial_flagged = flagged
    clean_predictions = recognise(clean.network_predictions, clean_flagged, votes[0])
    adversarial_predictions = recognise(adversarial.network_predictions, adversarial_flagged, votes[1])
    correct = adversarial_predictions == adversarial.labels
    groups = groups_of(clean.network_correct, adversarial.network_correct)
    outcome = Outcome(
        clean_correct=int((clean_predictions == clean.labels).sum()),
        adversarial_correct=int(correct.sum()),
        flagged_clean=int(clean_flagged.sum()),
        flagged_adversarial=int(adversarial_flagged.sum()),
        flagged_correct=int((correct & adversarial_flagged).sum()),
        successful_correct=int((correct & groups.successful).sum()),
        unsuccessful_correct=int((correct & groups.unsuccessful).sum()),
    )
    return clean_predictions, adversarial_predictions, outcome
