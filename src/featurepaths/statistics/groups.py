"""What an attack achieved on each image: the denominators of the tables."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Groups:
    """Where an attack on the undefended network succeeded and where it did not, bool [N] each; no image is in both.

    `successful`: the network is right on the clean image and wrong on the adversarial one. `unsuccessful`: it is right
    on both. The rest are images that the network gets wrong when they are clean: an attack proves nothing on them, so
    that they count among all images only.
    """

    successful: np.ndarray
    unsuccessful: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        """How many images are in either group."""
        return {"n_successful": int(self.successful.sum()), "n_unsuccessful": int(self.unsuccessful.sum())}


def groups_of(clean_correct: np.ndarray, adversarial_correct: np.ndarray) -> Groups:
    """Return the groups by whether the network is right on clean images and on examples of them, bool [N] each."""
    return Groups(clean_correct & ~adversarial_correct, clean_correct & adversarial_correct)
