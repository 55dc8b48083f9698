"""How large a radius, or a step, may be: what is greater than any two images are apart was meant otherwise.

Read by the configuration, so nothing here needs torch.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from featurepaths.errors import FeaturePathsError

LARGE = (3, 512, 512)
"""What images whose size is not known are taken for: those of most experiments are smaller."""
NORMALISED = 5
"""The greatest radius in normalised units while the data's standard deviation is not known. It is about 0.25 of most
images, seldom below 0.1, and no attack takes half of the range."""


def greatest_distance(norm: str, shape: Sequence[int] = LARGE) -> float:
    """Return how far two images [C, H, W] of values in [0, 1] can be apart; in L0 how many pixels they have."""
    channels, height, width = shape
    return {
        "linf": 1.0,
        "l2": math.sqrt(channels * height * width),
        "l1": float(channels * height * width),
        "l0": float(height * width),
    }[norm]


def too_far(value: Fraction | float, norm: str, shape: Sequence[int] | None = None) -> str | None:
    """Return what is wrong with a radius or a step, in pixel values or pixels: None if images are so far apart."""
    most = greatest_distance(norm, LARGE if shape is None else shape)
    if value <= most * (1 + 1e-9):
        return None
    if norm == "l0":
        images = "these images" if shape is not None else "512x512 images"
        return f"{_written(value)} is more pixels than {images} have, at most {most:g}"
    known = "two images" if shape is not None or norm == "linf" else "two images of 512x512 pixels"
    meant = f"; did you mean {_written(value)}/255?" if value <= 255 and value == int(value) else ""
    apart = f"{most:.4g} in {norm}, in pixel values of [0, 1]"
    return f"{_written(value)} is farther than {known} can be apart, {apart}{meant}"


def check_radius(key: str, value: Fraction | float, norm: str, shape: Sequence[int] | None = None) -> None:
    """Raise FeaturePathsError if a radius or a step is greater than images are apart: see `too_far`."""
    if problem := too_far(value, norm, shape):
        raise FeaturePathsError(f"{key}: {problem}.")


def _written(value: Fraction | float) -> str:
    return str(value) if isinstance(value, Fraction) else f"{value:g}"
