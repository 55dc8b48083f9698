"""What the whole method answers to clean images and to adversarial examples of them, counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featurepaths.paths.records import FeaturePaths
from featurepaths.recognition.votes import recognise, vote


@dataclass(frozen=True)
class Outcome:
    """Counts over images; `flagged_correct` counts the flagged adversarial images that the vote gets right."""

    clean_correct: int
    adversarial_correct: int
    flagged_clean: int
    flagged_adversarial: int
    flagged_correct: int


def recognise_pair(
    clean: FeaturePaths,
    adversarial: FeaturePaths,
    clean_flagged: np.ndarray,
    adversarial_flagged: np.ndarray,
    layers: Sequence[int],
    weights: np.ndarray,
    tie: str,
) -> tuple[np.ndarray, np.ndarray, Outcome]:
    """Return the method's labels of the clean and of the adversarial images, int [N] each, and their counts."""
    clean_voted, adversarial_voted = (
        paths.of_each(lambda similarity: vote(similarity, layers, weights, tie)) for paths in (clean, adversarial)
    )
    clean_labels = recognise(clean.network_labels, clean_flagged, clean_voted)
    adversarial_labels = recognise(adversarial.network_labels, adversarial_flagged, adversarial_voted)
    correct = adversarial_labels == adversarial.labels
    outcome = Outcome(
        clean_correct=int((clean_labels == clean.labels).sum()),
        adversarial_correct=int(correct.sum()),
        flagged_clean=int(clean_flagged.sum()),
        flagged_adversarial=int(adversarial_flagged.sum()),
        flagged_correct=int((correct & adversarial_flagged).sum()),
    )
    return clean_labels, adversarial_labels, outcome
