"""Outcome of the whole method on clean images and their adversarial examples: as counts, and of each image."""

from dataclasses import dataclass

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


MISSED, LOST, RECOGNISED, HARMLESS = OUTCOMES = (
    "missed",
    "flagged and lost",
    "flagged and recognised",
    "not flagged, network correct",
)
"""Of an adversarial example: not flagged and misclassified; flagged, and the vote wrong or correct; and the rest."""


@dataclass(frozen=True)
class AttackedImages:
    """A defence's decisions on N adversarial examples, one per image.

    `title` names the attack, `votes_of` what votes; `index` are the images' rows in the data set, `labels` their true
    classes, `predictions` the undefended network's, `votes` those of the voting layers, `scores` S_max: all [N]. An
    example is flagged if its score is below the threshold.
    """

    title: str
    votes_of: str
    threshold: float
    index: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    votes: np.ndarray
    scores: np.ndarray

    @property
    def flagged(self) -> np.ndarray:
        """Whether each example is flagged, bool [N]."""
        return self.scores < self.threshold

    def rows(self, outcome: str) -> np.ndarray:
        """Return the ascending rows of the examples with one of the `OUTCOMES`; every example has exactly one."""
        correct = recognise(self.predictions, self.flagged, self.votes) == self.labels
        is_flagged, is_correct = {MISSED: (0, 0), LOST: (1, 0), RECOGNISED: (1, 1), HARMLESS: (0, 1)}[outcome]
        return np.flatnonzero((self.flagged == is_flagged) & (correct == is_correct))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Return how many images of each true class (row) have each prediction (column): int [classes, classes]."""
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
