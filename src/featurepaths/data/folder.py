"""A folder of images as a data set: ``train/<class>/*`` and ``test/<class>/*``."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from featurepaths.data.size import Contents, DataSize
from featurepaths.data.splits import PARTS
from featurepaths.errors import FeaturePathsError, reported
from featurepaths.store.fingerprints import digest_of_names, look_at_files

SUFFIXES = {".png", ".jpg", ".jpeg"}
NAMED = 10  # files that an error names
PIECE = 128  # images that a process reads at a time
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""Errors that Pillow raises for damaged images."""


@dataclass(frozen=True)
class FolderImages:
    """Image files [N], read by a pool of processes when indexed: ``images[rows]`` is uint8 [n, H, W, 3].

    With `resize`, the central square of each image is resized to `shape`, bilinearly; without it all images must have
    that size.
    """

    files: list[Path]
    shape: tuple[int, int, int, int]
    resize: bool
    pool: Executor

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        read = partial(_read_image, self.shape[1:3], self.resize)
        images = list(self.pool.map(read, (self.files[row] for row in rows), chunksize=PIECE))
        if problems := [image for image in images if isinstance(image, str)]:
            raise FeaturePathsError("These images cannot be used:\n" + _listed(problems))
        return np.stack(images)


def load_folder(
    root: Path | str, size: int | None, pool: Executor, class_names: list[str] | None = None
) -> tuple[dict[str, tuple[FolderImages, np.ndarray]], list[str]]:
    """Return the training and test images and labels in a folder, and the names of the classes.

    Images are listed now and read later. Labels number the classes in the order of `class_names`.

    Parameters
    ----------
    root
        Holds ``train/<class>/`` and ``test/<class>/`` with PNG or JPEG files, the same classes in both. Names that
        begin with a dot are ignored.
    size
        Height and width to resize the images to; None keeps their size.
    pool
        Reads the images.
    class_names
        All folders of classes; None for their alphabetical order. A warning is printed if they are numbers that this
        order does not sort, such as 0, 1, 10, 2.

    Raises
    ------
    FeaturePathsError
        Naming a missing folder or class, or a file that is no image or is in the wrong place.
    """
    classes_of = {part: _classes(Path(root, part)) for part in PARTS}
    class_names = class_names or _alphabetical(classes_of["train"])
    if odd := set(classes_of["train"]) ^ set(classes_of["test"]):
        missing = [
            f"{Path(root, part, name)}" for name in sorted(odd) for part in PARTS if name not in classes_of[part]
        ]
        raise FeaturePathsError("train/ and test/ need the same classes; these are missing:\n" + _listed(missing))
    _check_names(root, classes_of["train"], class_names)
    shape = _shape_of(next(iter(classes_of["train"].values()))[0], size)
    parts = {}
    for part, classes in classes_of.items():
        files = [file for name in class_names for file in classes[name]]
        labels = np.repeat(np.arange(len(class_names)), [len(classes[name]) for name in class_names])
        parts[part] = (FolderImages(files, (len(files), *shape), size is not None, pool), labels)
    return parts, class_names


def contents_of(root: Path | str, memory: Path | None = None, class_names: list[str] | None = None) -> Contents:
    """Return size and digest of all images in a folder; of the size, that of the first image.

    Parameters
    ----------
    root, class_names
        See `load_folder`.
    memory
        See `featurepaths.store.fingerprints.look_at_files`.

    Raises
    ------
    FeaturePathsError
        As `load_folder` does, or if an image cannot be read.
    """
    classes_of = {part: _classes(Path(root, part)) for part in PARTS}
    _check_names(root, classes_of["train"], class_names)
    files = [file for classes in classes_of.values() for images in classes.values() for file in images]

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        size = DataSize(len(files), len(classes_of["train"]), *_shape_of(files[0], None))
        return {**asdict(size), "digest": digest_of_names(digests)}

    return Contents(**look_at_files({file.relative_to(root).as_posix(): file for file in files}, summary, root, memory))


def _read_image(size: tuple[int, int], resize: bool, file: Path) -> np.ndarray | str:
    """Return an image, uint8 [H, W, 3], or the problem if it cannot be used."""
    height, width = size
    try:
        with Image.open(file) as image:
            # Pillow opens 16-bit colour as 8-bit RGB; only the raw mode tells
            if image.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in image.tile):
                return f"{file}: has more than 8 bits per channel; convert it"
            if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
                return f"{file}: has transparent pixels; put it on a background and save it as RGB"
            colours = ImageOps.exif_transpose(image).convert("RGB")
    except UNREADABLE as error:
        return f"{file}: cannot be read ({error})"
    if resize:
        colours = ImageOps.fit(colours, (width, height), Image.Resampling.BILINEAR)
    elif colours.size != (width, height):
        return f"{file}: is {colours.width}x{colours.height}, the first one {width}x{height}; set data.size"
    return np.asarray(colours)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class below `folder`, in alphabetical order."""
    if not folder.is_dir():
        raise FeaturePathsError(f"There is no folder {folder}. data.root should hold train/<class>/ and test/<class>/.")
    entries = _visible(folder)
    classes = {entry.name: _visible(entry) for entry in entries if entry.is_dir()}
    misplaced = [f"{entry}: images belong in the folder of a class" for entry in entries if not entry.is_dir()]
    misplaced += [f"{folder / name}: has no image" for name, files in classes.items() if not files]
    for file in (file for files in classes.values() for file in files):
        if file.suffix.lower() not in SUFFIXES or not file.is_file():  # a link may be broken
            misplaced.append(f"{file}: no PNG or JPEG file")
    if misplaced:
        raise FeaturePathsError(f"{folder} is not a data set:\n" + _listed(misplaced))
    if not classes:
        raise FeaturePathsError(f"{folder} has no class: it should hold one folder of images per class.")
    return classes


def _alphabetical(names: Iterable[str]) -> list[str]:
    names = sorted(names)
    if all(map(str.isdecimal, names)) and names != sorted(names, key=int):
        print(
            f"Warning: the classes are numbered in alphabetical order: {', '.join(names[:5])}, ... If the network was "
            "trained in numerical order, set data.class_names to the names in that order."
        )
    return names


def _check_names(root: Path | str, folders: Iterable[str], class_names: list[str] | None) -> None:
    if class_names and sorted(class_names) != sorted(folders):
        odd = sorted(set(class_names) ^ set(folders))[:NAMED] or "a name twice"
        raise FeaturePathsError(
            f"data.class_names and the folders in {Path(root, 'train')} differ: {odd}. Name each once."
        )


def _visible(folder: Path) -> list[Path]:
    with reported(f"{folder} cannot be read", OSError):
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _shape_of(file: Path, size: int | None) -> tuple[int, int, int]:
    """Return the height, width and channels of all images."""
    if size is not None:
        return size, size, 3
    with reported(f"{file} cannot be read", *UNREADABLE), Image.open(file) as image:
        width, height = ImageOps.exif_transpose(image).size
        return height, width, 3


def _listed(lines: list[str]) -> str:
    more = [f"... and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "\n".join(f"  {line}" for line in [*lines[:NAMED], *more])
