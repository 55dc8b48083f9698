"""Saying for which images an attack met numbers that are not finite."""

import numpy as np

from featurepaths.errors import counted


def tell_undefined(indices: np.ndarray, undefined: np.ndarray) -> None:
    """Print which images, by their rows in the data set [N], are `undefined` [N], if any are."""
    if undefined.any():
        print(
            f"Logits, or the gradient of an attack's loss, were not finite for {counted(indices[undefined])} of the "
            "data set, when clean or during the attack. Such logits count as a wrong answer when clean and never as a "
            "success, and such gradients as vanished: attacks on these images are weaker than they seem."
        )
