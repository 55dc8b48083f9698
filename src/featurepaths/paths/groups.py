"""What an attack achieved on each image: the denominators of the tables."""

from dataclasses import dataclass

import numpy as np

from featurepaths.paths.records import FeaturePaths


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


def groups_of(clean: FeaturePaths, adversarial: FeaturePaths) -> Groups:
    """Return the groups of adversarial examples and of the clean images that they were made from, row for row."""
    right = clean.network_correct
    return Groups(right & ~adversarial.network_correct, right & adversarial.network_correct)
