"""Pictures, encoded as PNG or JPEG in files or in memory, as arrays of levels."""

import struct
from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from featurepaths.errors import FeaturePathsError, reported

NAMED = 10  # lines of an error's list
PIECE = 128  # pictures that a process reads at a time
GREY = ("1", "L", "LA")
UNREADABLE = (
    *(OSError, ValueError, SyntaxError, Image.DecompressionBombError),
    *(struct.error, AttributeError, TypeError),  # where EXIF is damaged
)
"""Errors that Pillow raises for damaged images."""
FORMATS = ("PNG", "JPEG")


def read_pictures(
    pictures: Iterable[tuple[str, Path | bytes]], shape: tuple[int, ...], resize: bool, pool: Executor
) -> np.ndarray:
    """Return pictures as uint8 [n, H, W, C], C = 3 or 1, decoded by a pool of processes.

    The EXIF orientation is applied.

    Parameters
    ----------
    pictures
        The name of each picture in errors, and its file or its encoded bytes.
    shape
        Height, width and channels. Grey pictures become RGB if there are 3; coloured ones are refused if there is 1.
    resize
        Whether the central square of each picture is resized, bilinearly; otherwise all must have that size.

    Raises
    ------
    FeaturePathsError
        Naming pictures that cannot be read, have another size, more than 8 bits per channel, or transparent pixels.
    """
    names, contents = zip(*pictures, strict=True)
    images = list(pool.map(partial(_read_picture, shape, resize), names, contents, chunksize=PIECE))
    if problems := [image for image in images if isinstance(image, str)]:
        raise FeaturePathsError("These images cannot be used:\n" + listed(problems))
    return np.stack(images)


def size_of_picture(name: str, content: Path | bytes) -> tuple[int, int]:
    """Return the height and width of a picture, or raise FeaturePathsError."""
    with reported(f"{name} cannot be read", *UNREADABLE), Image.open(_openable(content), formats=FORMATS) as image:
        return ImageOps.exif_transpose(image).size[::-1]


def listed(lines: list[str]) -> str:
    """Return the first lines of a list as text, and how many more there are."""
    more = [f"... and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "\n".join(f"  {line}" for line in [*lines[:NAMED], *more])


def _read_picture(shape: tuple[int, ...], resize: bool, name: str, content: Path | bytes) -> np.ndarray | str:
    """Return a picture, uint8 [H, W, C], or the problem if it cannot be used."""
    height, width, channels = shape
    try:
        with Image.open(_openable(content), formats=FORMATS) as image:
            # Pillow opens 16-bit colour as 8-bit RGB; only the raw mode shows it
            if image.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in image.tile):
                return f"{name}: has more than 8 bits per channel; scale it to 8 (Pillow's convert() would cut it)"
            if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
                return f"{name}: has transparent pixels; put it on a background and save it as RGB"
            if channels == 1 and image.mode not in GREY:
                return f"{name}: is coloured ({image.mode}); set data.channels: 3"
            picture = ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L")
    except UNREADABLE as error:
        return f"{name}: cannot be read ({error})"
    if resize:
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    elif picture.size != (width, height):
        return f"{name}: is {picture.width}x{picture.height}, the first one {width}x{height}; set data.size"
    return np.asarray(picture).reshape(height, width, channels)


def _openable(content: Path | bytes) -> Path | BytesIO:
    return BytesIO(content) if isinstance(content, bytes) else content
