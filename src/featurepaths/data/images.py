"""Image arrays: layout of axes, pixel levels, resizing."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from featurepaths.data.splits import ImageRows
from featurepaths.errors import FeaturePathsError

PARTS = ("train", "test")
BYTES_AT_A_TIME = 2**26
LEVEL_TOLERANCE = 0.1
"""How far, in 1/255, a float may lie from a level of uint8: float16 rounds by less."""


class Rows(Protocol):
    """An array that is there, or read when ascending row numbers ask for it."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


def layout_of(shape: tuple[int, ...], layout: str | None, name: str) -> str:
    """Return how images of this shape lie in memory: ``NHW``, ``NHWC`` or ``NCHW``.

    Four axes are read as `layout` says; where it is None, the channels are the axis of length 1 or 3.

    Raises
    ------
    FeaturePathsError
        If that cannot be told.
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
    """Return images of a `layout` as [N, H, W, C]."""
    if layout == "NHW":
        return images[..., None]
    return images.transpose(0, 2, 3, 1) if layout == "NCHW" else images


def as_levels(values: np.ndarray, name: str, rows: np.ndarray) -> np.ndarray:
    """Return images [n, ...] as uint8, if nothing is lost by it.

    Integers have to lie in 0 to 255; floats are multiples of 1/255 in [0, 1], but for rounding (`LEVEL_TOLERANCE`).

    Parameters
    ----------
    name, rows
        What these images are, and which ones [n], for errors.

    Raises
    ------
    FeaturePathsError
        Naming the first image that has other values.
    """

    def refuse(wrong: np.ndarray, problem: str) -> None:
        found = wrong.reshape(len(values), -1).any(axis=1)
        if found.any():
            row = int(np.flatnonzero(found)[0])
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
    refuse(~np.isfinite(levels), "it should be finite.")
    nearest = np.rint(levels)
    outside = "floats should lie in [0, 1]. Undo what normalised the images, and divide levels of 0 to 255 by 255."
    refuse((nearest < 0) | (nearest > 255), outside)
    between = (
        "it lies between the 256 levels that are kept of an image, so that its attacks would be measured from another "
        "one. Round the images yourself: np.round(images * 255).astype(np.uint8)."
    )
    refuse(np.abs(levels - nearest) > LEVEL_TOLERANCE, between)
    return nearest.astype(np.uint8)


@dataclass(frozen=True)
class ArrayImages:
    """Images as uint8 [N, H, W, C], from rows of an array of any type and layout.

    With a `size` the middle square of each image is resized to it, bilinearly, where it has another one.
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
        """The shape before they are resized."""
        count, *one = self.rows.shape
        if self.layout == "NHW":
            return count, *one, 1
        return (count, *one[1:], one[0]) if self.layout == "NCHW" else (count, *one)

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
    """Return the middle square of an image, uint8 [H, W, C], resized bilinearly to [size, size, C]."""
    # Pillow knows grey pictures without an axis of channels, and no others than those of 1 or 3
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    fitted = ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(size, size, -1)


def images_of(rows: Rows, name: str, layout: str | None = None, size: int | None = None) -> ArrayImages:
    """Return the images of an array that is called `name` in errors; see `layout_of` and `ArrayImages`.

    Raises
    ------
    FeaturePathsError
        If it has no images, or they have no pixels, or cannot be resized.
    """
    images = ArrayImages(rows, layout_of(tuple(rows.shape), layout, name), size, name)
    if 0 in images.shape:
        raise FeaturePathsError(f"{name} has shape {tuple(rows.shape)}: there is nothing in it.")
    if size and images.shape[3] not in (1, 3):
        raise FeaturePathsError(f"{name} has {images.shape[3]} channels; only images of 1 or 3 can be resized.")
    return images


def same_shape(parts: Mapping[str, tuple[ImageRows, np.ndarray]]) -> None:
    """Raise FeaturePathsError if training and test images [N, H, W, C] are not alike."""
    train, test = (parts[part][0].shape[1:] for part in PARTS)
    if train != test:
        raise FeaturePathsError(f"Training images are {by(train)}, test images {by(test)}; set data.size.")


def by(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as 3x32x32."""
    return "x".join(map(str, shape))
