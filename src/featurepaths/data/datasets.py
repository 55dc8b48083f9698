"""Data sets that libraries or a user's function return: scikit-learn's digits, CIFAR, torchvision's, a factory's."""

import operator
import tempfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featurepaths.data.images import by, checked_names, images_of, labels_of
from featurepaths.data.splits import PARTS, Parts, Rows, split_off
from featurepaths.data.torchvision import TORCHVISION
from featurepaths.errors import FeaturePathsError, place_of, reported
from featurepaths.runtime.entry_points import call_factory
from featurepaths.runtime.progress import progress

PROVENANCE = {
    "digits": "UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak), test part, from scikit-learn",
    "cifar10": "CIFAR-10 (Krizhevsky, 2009), read by torchvision",
    "cifar100": "CIFAR-100 (Krizhevsky, 2009), read by torchvision",
}
"""Source of the images of each built-in data set."""


def load_digits(size: int, test: float, seed: int) -> tuple[Parts, list[str]]:
    """Return scikit-learn's handwritten digits as training and test images, RGB of `size` x `size` pixels.

    The 1,797 images of 8x8 pixels with 17 grey levels are those of Alpaydin and Kaynak's Optical Recognition of
    Handwritten Digits (UCI, test part). They are enlarged bilinearly. `test` is the share of test images in each class.
    """
    from sklearn.datasets import load_digits as load

    digits = load()
    grey = np.round(digits.images * 255 / 16).astype(np.uint8)
    large = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in grey]
    images = np.repeat(np.stack([np.asarray(image) for image in large])[..., None], 3, axis=3)
    train, held = split_off(np.arange(len(images)), digits.target, test, seed, "data.test")
    parts = {"train": (images[train], digits.target[train]), "test": (images[held], digits.target[held])}
    return parts, [str(name) for name in digits.target_names]


def load_cifar(source: str, root: str, download: bool) -> tuple[Parts, list[str]]:
    """Return ``cifar10`` or ``cifar100``, 50,000 training and 10,000 test images.

    torchvision reads them and verifies their checksums.

    Raises
    ------
    FeaturePathsError
        If the files are missing from `root` or damaged, or cannot be downloaded.
    """
    name, parts = source.upper(), {}
    for part, settings in zip(PARTS, TORCHVISION[name], strict=True):
        dataset = open_torchvision(name, {"root": root, "download": download, **settings})
        parts[part] = (dataset.data, np.asarray(dataset.targets))
    return parts, dataset.classes


def load_torchvision(
    dataset: str,
    root: str | None,
    download: bool,
    arguments: Mapping[str, Mapping[str, Any]],
    size: int | None,
    folder: Path,
) -> tuple[Parts, list[str]]:
    """Return the training and test images of a class of `TORCHVISION`, and the names of the classes.

    Parameters
    ----------
    root, download
        Passed to the class unless None and False, because some classes do not accept them.
    arguments
        Further arguments for ``train`` and for ``test``; they override those in `TORCHVISION`.
    size, folder
        See `read_dataset`.

    Raises
    ------
    FeaturePathsError
        If torchvision does not find the files or rejects an argument, or as `read_dataset` does.
    """
    common = ({"root": root} if root is not None else {}) | ({"download": True} if download else {})
    parts, class_names = {}, None
    for part, defaults in zip(PARTS, TORCHVISION[dataset], strict=True):
        opened = open_torchvision(dataset, common | {**defaults, **arguments[part]})
        own_names = getattr(opened, "classes", None)
        first = int(bool(own_names) and own_names[0] == "N/A")  # EMNIST numbers letters from 1
        parts[part] = read_dataset(opened, size, f"the {part} part of {dataset}", folder, first)
        class_names = class_names or (own_names and own_names[first:])
    # some classes have several names
    names = class_names and [name if isinstance(name, str) else name[0] for name in class_names]
    return parts, checked_names(parts, names)


def open_torchvision(dataset: str, settings: Mapping[str, Any]) -> Any:
    """Return the instance of a class of `TORCHVISION` with these arguments.

    Raises
    ------
    FeaturePathsError
        If torchvision does not find the files or rejects an argument, or a download fails.
    """
    import torchvision

    kind = getattr(torchvision.datasets, dataset)
    problem = f"torchvision's {dataset} cannot be opened with {settings}"
    remedy = (
        f"If files are missing, put {getattr(kind, 'base_folder', 'its files')} into data.root, or set "
        "data.download: true on a machine with a network connection."
    )
    with reported(problem, Exception, reason=place_of, remedy=remedy):  # of torchvision, a download, or an argument
        return kind(**settings)


def load_made(
    factory: str, arguments: Mapping[str, Any], layout: str | None, size: int | None, folder: Path, first_label: int = 0
) -> tuple[Parts, list[str]]:
    """Return the training and test images that a user's function returns, and the names of the classes.

    Parameters
    ----------
    factory
        The function, as ``package.module:function``. It returns (train, test, class_names). Each part is a tuple
        (images, labels) of arrays for `featurepaths.data.images.images_of` and `labels_of`, or a data set for
        `read_dataset`; class_names is a list, or None for numbers.
    arguments
        Keyword arguments of the function.
    layout, size
        See `featurepaths.data.images.layout_of` and `ArrayImages`.
    folder, first_label
        See `read_dataset`.

    Raises
    ------
    FeaturePathsError
        If the function cannot be called, fails, or returns something else.
    """
    result = call_factory(factory, arguments)
    if not isinstance(result, tuple) or len(result) != 3:
        raise FeaturePathsError(f"{factory} should return (train, test, class_names), not {type_text(result)}.")
    *datasets, class_names = result
    parts = {}
    for part, dataset in zip(PARTS, datasets, strict=True):
        name = f"the {part} part of {factory}"
        if isinstance(dataset, tuple) and len(dataset) == 2:
            pixels, labels = (as_array(values, name) for values in dataset)
            images = images_of(pixels, f"images of {name}", layout, size)
            parts[part] = images, labels_of(labels, images, f"labels of {name}", first_label)
        else:
            parts[part] = read_dataset(dataset, size, name, folder, first_label)
    return parts, checked_names(parts, class_names, first_label)


def read_dataset(
    dataset: Any, size: int | None, name: str, folder: Path, first_label: int = 0
) -> tuple[Rows, np.ndarray]:
    """Read all items of a data set and return the images, uint8 [N, H, W, C], and labels [N].

    Parameters
    ----------
    dataset
        Has a length, and items (image, label): a Pillow image, array or tensor, and an integer, or an array or tensor
        of one. Pillow images that are not grey become RGB.
    size
        Height and width to resize the central square of each image to; if None, all images must have the same shape.
    name
        Name of the data set in errors.
    folder
        Holds the images in an unnamed temporary file, so that no number of them fills the memory.
    first_label
        The label of the first class.

    Raises
    ------
    FeaturePathsError
        Naming the first item that is invalid or cannot be read.
    """
    if not hasattr(dataset, "__len__"):
        raise FeaturePathsError(f"{name} is {type_text(dataset)}: neither (images, labels) nor a data set.")
    with reported(f"{name} has no length", Exception, reason=place_of):
        count = len(dataset)
    if count == 0:
        raise FeaturePathsError(f"{name} is empty.")
    shape: tuple[int, ...] = ()
    labels = np.zeros(count, np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as spool:
        for row in progress(range(count), f"reading {name}", count, "images"):
            pixels, labels[row] = _read_item(dataset, row, size, f"item {row} of {name}", first_label)
            shape = shape or pixels.shape
            if pixels.shape[2] == 1 and shape[2] == 3:
                pixels = pixels.repeat(3, axis=2)
            if pixels.shape != shape:
                sizes = f"item {row} of {name} is {by(pixels.shape)}, the first one {by(shape)}"
                raise FeaturePathsError(f"{sizes}; set data.size to resize all images.")
            with reported(f"Images cannot be written to {folder}", OSError):
                spool.write(pixels.tobytes())
        spool.flush()
        return np.memmap(spool, np.uint8, "r", shape=(count, *shape)), labels


def _read_item(dataset: Any, row: int, size: int | None, name: str, first_label: int) -> tuple[np.ndarray, int]:
    """Return one image, uint8 [H, W, C], and its label, counted from 0."""
    with reported(f"{name} cannot be read", Exception, reason=place_of):
        item = dataset[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise FeaturePathsError(f"{name} is {type_text(item)}; every item should be (image, label).")
    image, label = item
    shape = getattr(label, "shape", ())
    if prod(shape) != 1:
        raise FeaturePathsError(f"{name} has {prod(shape)} labels: every image needs one label, its class.")
    try:
        number = operator.index(label.item() if shape else label) - first_label
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < 2**31:
        raise FeaturePathsError(f"{name} has label {label!r}; a label is one whole number, from {first_label}.")
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise FeaturePathsError(
                f"{name} has more than 8 bits per channel; scale the images to 8 (Pillow's convert() would cut them)."
            )
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return images_of(as_array(image, name)[None], name, None, size)[np.arange(1)][0], number


def as_array(values: Any, name: str) -> np.ndarray:
    """Return a list, array or tensor as an array; errors call it `name`."""
    # no array: a tensor on a GPU or with a gradient, lists of different lengths
    with reported(f"{name} holds {type_text(values)} that is no array", Exception, reason=place_of):
        return np.asarray(values)


def type_text(value: Any) -> str:
    """Return the type of a value, and its length if it is a tuple or list."""
    length = f" of length {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{type(value).__module__}.{type(value).__qualname__}{length}"
