"""A folder of images as a data set: ``train/<class>/*`` and ``test/<class>/*``, or as in ImageNet and Tiny ImageNet."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featurepaths.data.pictures import NAMED, listed, read_pictures, size_of_picture
from featurepaths.data.size import Contents, DataSize
from featurepaths.data.splits import PARTS
from featurepaths.errors import FeaturePathsError, reported
from featurepaths.store.fingerprints import digest_of_names, look_at_files

SUFFIXES = {".png", ".jpg", ".jpeg"}
TEST_FOLDERS = ("test", "val", "valid", "validation")
"""Folders of the test images: the first one that exists and has labels."""
INSIDE = "images"
"""The folder within a class, or within the test images, that has the files in Tiny ImageNet."""
ANNOTATIONS = "val_annotations.txt"
"""Tiny ImageNet's list of files in `INSIDE` and their classes."""


@dataclass(frozen=True)
class FolderImages:
    """Image files [N], read by a pool of processes when indexed: ``images[rows]`` is uint8 [n, H, W, 3].

    `resize` is that of `featurepaths.data.pictures.read_pictures`.
    """

    files: list[Path]
    shape: tuple[int, int, int, int]
    resize: bool
    pool: Executor

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        files = [self.files[row] for row in rows]
        return read_pictures([(str(file), file) for file in files], self.shape[1:], self.resize, self.pool)


class Layout(NamedTuple):
    """The files of each class of both `PARTS`, and the folder of the test images."""

    classes_of: dict[str, dict[str, list[Path]]]
    test: Path

    @property
    def files(self) -> list[Path]:
        """All images."""
        return [file for classes in self.classes_of.values() for images in classes.values() for file in images]


def load_folder(
    root: Path | str, size: int | None, pool: Executor, class_names: list[str] | None = None
) -> tuple[dict[str, tuple[FolderImages, np.ndarray]], list[str]]:
    """Return the training and test images and labels in a folder, and the names of the classes.

    Images are listed now and read later. Labels number the classes in the order of `class_names`. If the test images
    are not in ``test``, that is printed.

    Parameters
    ----------
    root
        Holds ``train/<class>/`` and ``test/<class>/`` with PNG or JPEG files, the same classes in both. If there is no
        ``test``, or it has no classes, ``val``, ``valid`` or ``validation`` takes its place. The files may be laid out
        as in Tiny ImageNet. Names that begin with a dot are ignored.
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
    classes_of, test = _layout_of(Path(root), class_names)
    if test.name != TEST_FOLDERS[0]:
        missing = "has no labels" if Path(root, TEST_FOLDERS[0]).is_dir() else "does not exist"
        print(f"Note: the test images are those of {test}; the folder {TEST_FOLDERS[0]} {missing}.")
    class_names = class_names or _alphabetical(classes_of["train"])
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
    layout = _layout_of(Path(root), class_names)
    annotations = [file] if (file := layout.test / ANNOTATIONS).is_file() else []

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        size = DataSize(len(layout.files), len(layout.classes_of["train"]), *_shape_of(layout.files[0], None))
        return {**asdict(size), "digest": digest_of_names(digests)}

    by_name = {file.relative_to(root).as_posix(): file for file in layout.files + annotations}
    return Contents(**look_at_files(by_name, summary, root, memory))


def _layout_of(root: Path, class_names: list[str] | None) -> Layout:
    """Return the files of a data set, whose training and test images have the same classes, those of `class_names`."""
    train = _classes(root / "train")
    existing = [folder for name in TEST_FOLDERS if (folder := root / name).is_dir()]
    labelled = [folder for folder in existing if _is_annotated(folder) or _folders(folder) - ({INSIDE} - train.keys())]
    test = [*labelled, *existing, root / TEST_FOLDERS[0]][0]
    classes_of = dict(zip(PARTS, (train, _annotated(test) if _is_annotated(test) else _classes(test)), strict=True))
    folders = {"train": root / "train", "test": test}
    if odd := set(train) ^ set(classes_of["test"]):
        missing = [str(folders[part] / name) for name in sorted(odd) for part in PARTS if name not in classes_of[part]]
        raise FeaturePathsError(f"train/ and {test.name}/ need the same classes; these are missing:\n{listed(missing)}")
    if class_names and sorted(class_names) != sorted(train):
        missing, unknown = sorted(set(train) - set(class_names)), sorted(set(class_names) - set(train))
        raise FeaturePathsError(
            f"data.class_names should have each folder in {folders['train']} once. Missing: {missing[:NAMED]}; "
            f"without a folder: {unknown[:NAMED]}."
        )
    return Layout(classes_of, test)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class below `folder`, in alphabetical order."""
    if not folder.is_dir():
        raise FeaturePathsError(
            f"There is no folder {folder}. data.root should hold train/<class>/ and test/<class>/ (or val/<class>/)."
        )
    entries = [entry for entry in _visible(folder) if entry.name != ANNOTATIONS]
    classes = {entry.name: _files_of(entry) for entry in entries if entry.is_dir()}
    misplaced = [f"{entry}: images belong in the folder of a class" for entry in entries if not entry.is_dir()]
    misplaced += [f"{folder / name}: has no image" for name, files in classes.items() if not files]
    _check_files(folder, misplaced, classes)
    if not classes:
        raise FeaturePathsError(f"{folder} has no class: it should hold one folder of images per class.")
    return classes


def _files_of(folder: Path) -> list[Path]:
    """Return the files of a class; those of Tiny ImageNet are in a folder next to a list of boxes."""
    entries = _visible(folder)
    names = {entry.name for entry in entries}
    return _visible(folder / INSIDE) if {INSIDE} <= names <= {INSIDE, f"{folder.name}_boxes.txt"} else entries


def _is_annotated(folder: Path) -> bool:
    """Return whether a folder is laid out like Tiny ImageNet's validation images."""
    return (folder / ANNOTATIONS).is_file() and (folder / INSIDE).is_dir()


def _annotated(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class in a folder that `_is_annotated`: lines have file, class and box."""
    file, images = folder / ANNOTATIONS, _visible(folder / INSIDE)
    with reported(f"{file} cannot be read", OSError, ValueError):
        lines = file.read_text(encoding="utf-8").splitlines()
        class_of = dict(line.split("\t")[:2] for line in lines if line.strip())
    if odd := class_of.keys() ^ {image.name for image in images}:
        raise FeaturePathsError(f"{file} and {folder / INSIDE} should name the same files:\n{listed(sorted(odd))}")
    classes: dict[str, list[Path]] = {}
    for image in images:
        classes.setdefault(class_of[image.name], []).append(image)
    _check_files(folder, [], classes)
    return classes


def _check_files(folder: Path, misplaced: list[str], classes: Mapping[str, list[Path]]) -> None:
    """Raise FeaturePathsError if something is misplaced, or a file of a class is no image."""
    for file in (file for files in classes.values() for file in files):
        if file.suffix.lower() not in SUFFIXES or not file.is_file():  # a link may be broken
            misplaced.append(f"{file}: no PNG or JPEG file")
    if misplaced:
        raise FeaturePathsError(f"{folder} is not a data set:\n" + listed(misplaced))


def _alphabetical(names: Iterable[str]) -> list[str]:
    names = sorted(names)
    if all(map(str.isdecimal, names)) and names != sorted(names, key=int):
        print(
            f"Warning: the classes are numbered in alphabetical order: {', '.join(names[:5])}, ... If the network was "
            "trained in numerical order, set data.class_names to the names in that order."
        )
    return names


def _folders(folder: Path) -> set[str]:
    return {entry.name for entry in _visible(folder) if entry.is_dir()}


def _visible(folder: Path) -> list[Path]:
    with reported(f"{folder} cannot be read", OSError):
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _shape_of(file: Path, size: int | None) -> tuple[int, int, int]:
    """Return the height, width and channels of all images."""
    height, width = size_of_picture(str(file), file) if size is None else (size, size)
    return height, width, 3
