"""What the whole method answers to clean images and to adversarial examples of them, counted."""

from dataclasses import dataclass

import numpy as np

from featurepaths.defense.votes import recognise
from featurepaths.paths.records import FeaturePaths
from featurepaths.statistics.groups import groups_of


@dataclass(frozen=True)
class Outcome:
    """Counts over images.

    `flagged_correct` counts the flagged adversarial images that the vote gets right, `successful_correct` and
    `unsuccessful_correct` the adversarial images of either group (see `featurepaths.statistics.groups`) that the method gets
    right, flagged or not.
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
    voted: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, Outcome]:
    """Return the method's labels of the clean and of the adversarial images, int [N] each, and their counts.

    Parameters
    ----------
    flagged, voted
        Of clean and of adversarial images: whether each is flagged [N], and the class that the vote gives it [N].
    """
    clean_flagged, adversarial_flagged = flagged
    clean_labels = recognise(clean.network_predictions, clean_flagged, voted[0])
    adversarial_labels = recognise(adversarial.network_predictions, adversarial_flagged, voted[1])
    correct = adversarial_labels == adversarial.labels
    groups = groups_of(clean.network_correct, adversarial.network_correct)
    outcome = Outcome(
        clean_correct=int((clean_labels == clean.labels).sum()),
        adversarial_correct=int(correct.sum()),
        flagged_clean=int(clean_flagged.sum()),
        flagged_adversarial=int(adversarial_flagged.sum()),
        flagged_correct=int((correct & adversarial_flagged).sum()),
        successful_correct=int((correct & groups.successful).sum()),
        unsuccessful_correct=int((correct & groups.unsuccessful).sum()),
    )
    return clean_labels, adversarial_labels, outcome
