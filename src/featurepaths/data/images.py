"""Images and labels in arrays: layout of axes, pixel levels, resizing, and the checks of their values."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from PIL import Image, ImageOps

from featurepaths.data.splits import PARTS, Parts, Rows
from featurepaths.errors import FeaturePathsError

BYTES_AT_A_TIME = 2**26
LEVEL_TOLERANCE = 0.1
"""Largest distance, in 1/255, of a float from a level of uint8; float16 rounds by less."""


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
        raise FeaturePathsError(
            f"{name} has shape {shape}, where {why} could be 1 or 3 channels: set data.layout to NHWC or NCHW."
        )
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
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "iuf":
        raise FeaturePathsError(f"{name} holds {values.dtype}; images are uint8 from 0 to 255, or floats in [0, 1].")
    scale, limits = 1, "whole numbers should be levels from 0 to 255."
    if values.dtype.kind == "f":
        scale = 255
        limits = "floats should lie in [0, 1]. Undo what normalised the images, and divide levels of 0 to 255 by 255."
    with np.errstate(over="ignore", invalid="ignore"):
        levels = values.astype(np.float64) * scale
        nearest = np.rint(levels)
        problems = {
            "values should be finite, and in [0, 1].": ~np.isfinite(levels),
            limits: (nearest < 0) | (nearest > 255),
            "it lies between the 256 levels of uint8, in which images are stored, so attacks would start from another "
            "image. Round the images yourself: np.round(images * 255).astype(np.uint8).": abs(levels - nearest)
            > LEVEL_TOLERANCE,
        }
    for problem, wrong in problems.items():
        if len(images := np.flatnonzero(wrong.reshape(len(values), -1).any(axis=1))):
            row = images[0]
            raise FeaturePathsError(f"{name} holds {values[row][wrong[row]][0]} in image {rows[row]}: {problem}")
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
        count, height, width, channels = self._stored_shape
        return count, self.size or height, self.size or width, channels

    @property
    def _stored_shape(self) -> tuple[int, ...]:
        """Shape before resizing, [N, H, W, C]."""
        return channels_last(np.broadcast_to(np.uint8(0), self.rows.shape), self.layout).shape

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        at_once = max(1, BYTES_AT_A_TIME // (8 * prod(self._stored_shape[1:])))
        return np.concatenate([self._read(rows[start : start + at_once]) for start in range(0, len(rows), at_once)])

    def _read(self, rows: np.ndarray) -> np.ndarray:
        levels = as_levels(channels_last(self.rows[rows], self.layout), self.name, rows)
        if self.shape == self._stored_shape:
            return levels
        pixels = levels.squeeze(3) if levels.shape[3] == 1 else levels  # Pillow takes grey images without channels
        pictures = map(Image.fromarray, np.ascontiguousarray(pixels))
        fitted = [ImageOps.fit(picture, (self.size, self.size), Image.Resampling.BILINEAR) for picture in pictures]
        return np.stack(fitted).reshape(len(rows), *self.shape[1:])


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


def labels_of(rows: Rows, images: ArrayImages, name: str, first: int = 0) -> np.ndarray:
    """Return the labels [N] of images, counted from 0, from whole numbers [N] or [N, 1] counted from `first`.

    Raises
    ------
    FeaturePathsError
        If the labels have another shape, are no whole numbers, or are less than `first`.
    """
    shape, count = tuple(rows.shape), images.shape[0]
    if shape not in ((count,), (count, 1)):
        one_hot = " Take the argmax of one-hot labels." if len(shape) == 2 else ""
        raise FeaturePathsError(f"{name} has shape {shape}, with {count} images: one label each.{one_hot}")
    labels = rows[np.arange(count)].reshape(-1)
    # MATLAB's are floats
    if labels.dtype.kind not in "iuf" or (labels.dtype.kind == "f" and not (labels == np.rint(labels)).all()):
        raise FeaturePathsError(
            f"{name} holds {labels.dtype}; labels are whole numbers from 0. Number the classes that they name."
        )
    other = ", or set data.first_label: 0" if first else ""
    for extreme in (labels.min(), labels.max()):
        if not first <= extreme < 2**31:
            raise FeaturePathsError(
                f"{name} holds {extreme}; number the classes from {first}{other}. (Some data sets mark images "
                "without a label by -1.)"
            )
    return labels.astype(np.int64) - first


def checked_names(parts: Parts, class_names: Sequence[str] | None, first_label: int | None = None) -> list[str]:
    """Return the names of all classes: `class_names`, or their numbers if that is None.

    `first_label` is the key of the configuration, None where there is no such key.

    Raises
    ------
    FeaturePathsError
        If training and test images [N, H, W, C] have different shapes, no label is 0, or a label has no name.
    """
    train, test = (parts[part][0].shape[1:] for part in PARTS)
    if train != test:
        raise FeaturePathsError(f"Training images are {by(train)}, test images {by(test)}; set data.size.")
    if first_label == 0 and all(labels.min() == 1 for _, labels in parts.values()):
        raise FeaturePathsError(
            "No label of the images is 0. If the classes are numbered from 1, set data.first_label: 1."
        )
    count = 1 + max(int(labels.max()) for _, labels in parts.values())
    if class_names is None and count > sum(len(labels) for _, labels in parts.values()):
        raise FeaturePathsError(
            f"A label is {count - 1}, but there are fewer images, so that some classes have none: number the classes "
            "0, 1, 2, ..."
        )
    class_names = list(map(str, range(count) if class_names is None else class_names))
    if count > len(class_names):
        raise FeaturePathsError(f"A label is {count - 1}, but class_names has only {len(class_names)} (from 0).")
    return class_names
