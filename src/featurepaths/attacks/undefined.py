"""The log message on images for which an attack met numbers that are not finite."""

import numpy as np

from featurepaths.errors import counted


def report_undefined(indices: np.ndarray, undefined: np.ndarray) -> None:
    """Print which images, by their rows in the data set [N], are `undefined` [N], if any."""
    if undefined.any():
        print(
            f"Logits, or the gradient of an attack's loss, were not finite for {counted(indices[undefined])} of the "
            "data set, either clean or during the attack. Clean images without finite logits count as misclassified, "
            "adversarial ones as no success, and such gradients as vanished: on these images the attacks are weaker."
        )
