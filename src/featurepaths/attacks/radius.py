"""Bounds on the radius and the step of attacks: no two images are farther apart.

The configuration checks them, so nothing here needs torch.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from featurepaths.errors import FeaturePathsError

LARGE = (3, 512, 512)
"""The assumed shape of images of unknown size: those of most experiments are smaller."""
NORMALIZED = 5
"""The greatest radius in normalized units while the data's standard deviation is not known. It is about 0.25 for most
images and rarely below 0.1, and no attack uses half of the range."""


def too_far(value: Fraction | float, norm: str, shape: Sequence[int] | None = None) -> str | None:
    """Return the problem with a radius or step, in pixel values (L0: pixels); None if images can be that far apart.

    `shape` is that of an image, [C, H, W], if it is known.
    """
    channels, height, width = LARGE if shape is None else shape
    values = channels * height * width
    most = {"linf": 1.0, "l2": math.sqrt(values), "l1": float(values), "l0": float(height * width)}[norm]
    if value <= most * (1 + 1e-9):
        return None
    if norm == "l0":
        images = "these images" if shape is not None else "512x512 images"
        return f"{_text(value)} is more pixels than {images} have, at most {most:g}"
    unit = "two images" if shape is not None or norm == "linf" else "two images of 512x512 pixels"
    hint = f"; did you mean {_text(value)}/255?" if value <= 255 and value == int(value) else ""
    bound = f"{most:.4g} in {norm}, in pixel values of [0, 1]"
    return f"{_text(value)} is farther than {unit} can be apart, {bound}{hint}"


def check_radius(key: str, value: Fraction | float, norm: str, shape: Sequence[int] | None = None) -> None:
    """Raise FeaturePathsError, naming `key`, if a radius or a step is too large: see `too_far`."""
    if problem := too_far(value, norm, shape):
        raise FeaturePathsError(f"{key}: {problem}.")


def _text(value: Fraction | float) -> str:
    return str(value) if isinstance(value, Fraction) else f"{value:g}"
