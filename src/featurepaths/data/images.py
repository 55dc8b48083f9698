"""Image arrays: layout of axes, pixel levels, resizing."""

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from featurepaths.data.splits import ImageRows
from featurepaths.errors import FeaturePathsError

BYTES_AT_A_TIME = 2**26
LEVEL_TOLERANCE = 0.1
"""Largest distance, in 1/255, of a float from a level of uint8; float16 rounds by less."""


class Rows(ImageRows, Protocol):
    """An array in memory, or in a file from which it is read when indexed with ascending row numbers."""

    dtype: np.dtype


def layout_of(shape: tuple[int, ...], layout: str | None, name: str) -> str:
    """Return the layout of images of this shape: ``NHW``, ``NHWC`` or ``NCHW``.

    The layout of four axes is `layout`, or, if that is None, follows from the axis of length 1 or 3: the channels.

    Raises
    ------
    FeaturePathsError
        If the shape is no images' or the channels are ambiguous.
    """
    if len(shape) == 3:
        return "NHW"
    if len(shape) != 4:
        raise FeaturePathsError(f"{name} has shape {shape}; images are [N, H, W], [N, H, W, C] or [N, C, H, W].")
    if layout:
        return layout
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        why = "both axis 1 and axis 3" if first else "neither axis 1 nor axis 3"
        raise FeaturePathsError(f"{name} has shape {shape}, where {why} could be 1 or 3 channels: set layout.")
    return "NCHW" if first else "NHWC"


def channels_last(images: np.ndarray, layout: str) -> np.ndarray:
    """Return images in `layout` as [N, H, W, C]."""
    if layout == "NHW":
        return images[..., None]
    return images.transpose(0, 2, 3, 1) if layout == "NCHW" else images


def as_levels(values: np.ndarray, name: str, rows: np.ndarray) -> np.ndarray:
    """Return images [n, ...] as uint8 if the conversion loses nothing.

    Integers must be in 0 to 255; floats must be multiples of 1/255 in [0, 1], up to rounding (`LEVEL_TOLERANCE`).

    Parameters
    ----------
    name, rows
        The name of the array and the row numbers [n] of the images, for errors.

    Raises
    ------
    FeaturePathsError
        Naming the first image with other values.
    """

    def refuse(wrong: np.ndarray, problem: str) -> None:
        images = np.flatnonzero(wrong.reshape(len(values), -1).any(axis=1))
        if len(images):
            row = int(images[0])
            value = values[row][wrong[row]].flat[0]
            raise FeaturePathsError(f"{name} holds {value} in image {rows[row]}: {problem}")

    if values.dtype == np.uint8:
        return values
    if values.dtype.kind in "iu":
        refuse((values < 0) | (values > 255), "whole numbers should be levels from 0 to 255.")
        return values.astype(np.uint8)
    if values.dtype.kind != "f":
        raise FeaturePathsError(f"{name} holds {values.dtype}; images are uint8, or floats in [0, 1].")
    with np.errstate(over="ignore"):
        levels = values.astype(np.float64) * 255
    refuse(~np.isfinite(levels), "values should be finite.")
    nearest = np.rint(levels)
    outside = "floats should lie in [0, 1]. Undo what normalised the images, and divide levels of 0 to 255 by 255."
    refuse((nearest < 0) | (nearest > 255), outside)
    between = (
        "it lies between the 256 levels of uint8, in which images are stored, so attacks would start from another "
        "image. Round the images yourself: np.round(images * 255).astype(np.uint8)."
    )
    refuse(np.abs(levels - nearest) > LEVEL_TOLERANCE, between)
    return nearest.astype(np.uint8)


@dataclass(frozen=True)
class ArrayImages:
    """Images as uint8 [N, H, W, C], from rows of an array of any type and layout.

    If `size` is set, the central square of each image is resized to that height and width, bilinearly.
    """

    rows: Rows
    layout: str
    size: int | None
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images, [N, H, W, C]."""
        count, height, width, channels = self._shape
        return (count, self.size, self.size, channels) if self.size else (count, height, width, channels)

    @property
    def _shape(self) -> tuple[int, ...]:
        """Shape before resizing, [N, H, W, C]."""
        return channels_last(np.broadcast_to(np.uint8(0), self.rows.shape), self.layout).shape

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        at_once = max(1, BYTES_AT_A_TIME // (8 * prod(self._shape[1:])))
        pieces = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
        return np.concatenate([self._read(piece) for piece in pieces])

    def _read(self, rows: np.ndarray) -> np.ndarray:
        levels = as_levels(channels_last(self.rows[rows], self.layout), self.name, rows)
        if self.size is None or self._shape[1:3] == (self.size, self.size):
            return levels
        return np.stack([resized(image, self.size) for image in levels])


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """Return the central square of an image, uint8 [H, W, C], resized bilinearly to [size, size, C]."""
    # Pillow takes grey images without a channel axis, and only images of 1 or 3 channels
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    fitted = ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(size, size, -1)


def images_of(rows: Rows, name: str, layout: str | None = None, size: int | None = None) -> ArrayImages:
    """Return the images of an array called `name` in errors; see `layout_of` and `ArrayImages`.

    Raises
    ------
    FeaturePathsError
        If the array is empty, or its images cannot be resized.
    """
    images = ArrayImages(rows, layout_of(tuple(rows.shape), layout, name), size, name)
    if 0 in images.shape:
        raise FeaturePathsError(f"{name} has shape {tuple(rows.shape)}: the array is empty.")
    if size and images.shape[3] not in (1, 3):
        raise FeaturePathsError(f"{name} has {images.shape[3]} channels; only images of 1 or 3 can be resized.")
    return images


def by(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as 3x32x32."""
    return "x".join(map(str, shape))
