"""A defence's decision on each attacked image, its outcome, and confusion matrices."""

from dataclasses import dataclass

import numpy as np

from featurepaths.defense.recognition import recognise

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
    classes, `predictions` the undefended network's, `votes` those of the voting layers, `scores` S_max, and
    `clean_correct` whether the undefended network is right on the image without an attack: all [N]. An example is
    flagged if its score is below the threshold.
    """

    title: str
    votes_of: str
    threshold: float
    index: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    votes: np.ndarray
    scores: np.ndarray
    clean_correct: np.ndarray

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
