"""Pictures of the explorer: images of a split and their adversarial versions, as PNG sheets of equal tiles."""

from base64 import b64encode
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
from PIL import Image

SIDE = 64
"""Pixels of a picture's longer side; larger images become thumbnails: means of k x k pixels."""
MIDDLE = 128
"""The grey level of a difference of 0."""


def factor_of(height: int, width: int) -> int:
    """Return k, the number of pixels that become one along each axis of a picture."""
    return ceil(max(height, width) / SIDE)


def shown_channels(count: int) -> int:
    """Return how many channels a picture shows: three, or one of images with fewer."""
    return 3 if count >= 3 else 1


def values_of(shape: tuple[int, ...]) -> int:
    """Return the number of pixel values in the picture of an image [H, W, C]."""
    height, width, channels = shape
    factor = factor_of(height, width)
    return ceil(height / factor) * ceil(width / factor) * shown_channels(channels)


def as_levels(adversarial: np.ndarray) -> np.ndarray:
    """Return adversarial images, float32 [N, C, H, W] in [0, 1], as uint8 [N, H, W, C], rounded."""
    return np.rint(adversarial.transpose(0, 2, 3, 1) * np.float32(255)).astype(np.uint8)


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Return the pictures of images, uint8 [N, H, W, C]: uint8 [N, h, w, 1 or 3]."""
    count, height, width, channels = images.shape
    factor, images = factor_of(height, width), images[..., : shown_channels(channels)]
    if factor == 1 or count == 0:
        return images[:, : ceil(height / factor), : ceil(width / factor)]
    reduced = [np.asarray(_as_image(image).reduce(factor)) for image in images]
    return np.stack(reduced).reshape(count, *reduced[0].shape[:2], images.shape[3])


def sheet(pictures: np.ndarray) -> dict[str, Any]:
    """Return pictures, uint8 [N, h, w, C], as the URL of one PNG with a number of `columns`, row by row."""
    count, height, width, channels = pictures.shape
    columns = max(ceil((count * width / height) ** 0.5), 1)
    rows = max(ceil(count / columns), 1)
    tiles = np.full((rows * columns, height, width, channels), MIDDLE, np.uint8)
    tiles[:count] = pictures
    pixels = tiles.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    pixels = pixels.reshape(rows * height, columns * width, channels)
    file = BytesIO()
    _as_image(pixels).save(file, "png")
    return {"url": f"data:image/png;base64,{b64encode(file.getvalue()).decode()}", "columns": columns}


def magnification(clean: np.ndarray, adversarial: np.ndarray) -> int:
    """Return the greatest whole number by which all differences of these pictures fit into the 256 levels."""
    greatest = int(abs(adversarial.astype(np.int16) - clean).max(initial=1))
    return max((MIDDLE - 1) // greatest, 1)


def _as_image(pixels: np.ndarray) -> Image.Image:
    """Return pixels, uint8 [H, W, 1 or 3], as an image of Pillow."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
