"""Groups of images by the success of an attack: the denominators of the tables."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Groups:
    """Images on which an attack on the undefended network succeeded or failed, bool [N] each; no image is in both.

    `successful`: the network is correct on the clean image and wrong on the adversarial one. `unsuccessful`: it is
    correct on both. Images that are misclassified when clean are in neither, as an attack on them proves nothing.
    """

    successful: np.ndarray
    unsuccessful: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """Number of images in each group."""
        return {"n_successful": int(self.successful.sum()), "n_unsuccessful": int(self.unsuccessful.sum())}


def groups_of(clean_correct: np.ndarray, adversarial_correct: np.ndarray) -> Groups:
    """Return the groups, from whether the network is correct on clean and on adversarial images, bool [N] each."""
    return Groups(clean_correct & ~adversarial_correct, clean_correct & adversarial_correct)
