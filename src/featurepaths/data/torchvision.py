"""torchvision's data sets, their defaults and their quirks."""

import operator
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featurepaths.data.images import PARTS, images_of, same_shape
from featurepaths.data.labels import names_of
from featurepaths.data.splits import ImageRows, Parts
from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.entry_points import told
from featurepaths.runtime.progress import progress

TRAIN = ({"train": True}, {"train": False})
SPLIT = ({"split": "train"}, {"split": "test"})
TRAIN_AND_VAL = ({"split": "train"}, {"split": "val"})
TORCHVISION: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "CIFAR10": TRAIN,
    "CIFAR100": TRAIN,
    "CLEVRClassification": TRAIN_AND_VAL,
    "Country211": SPLIT,
    "DTD": SPLIT,
    "EMNIST": TRAIN,
    "FER2013": SPLIT,
    "FGVCAircraft": SPLIT,
    "FakeData": ({}, {}),
    "FashionMNIST": TRAIN,
    "Flowers102": SPLIT,
    "Food101": SPLIT,
    "GTSRB": SPLIT,
    "ImageNet": TRAIN_AND_VAL,
    "Imagenette": TRAIN_AND_VAL,
    "KMNIST": TRAIN,
    "MNIST": TRAIN,
    "OxfordIIITPet": ({"split": "trainval"}, {"split": "test"}),
    "PCAM": SPLIT,
    "QMNIST": TRAIN,
    "RenderedSST2": SPLIT,
    "STL10": SPLIT,
    "SVHN": SPLIT,
    "StanfordCars": SPLIT,
    "USPS": TRAIN,
}
"""torchvision's data sets of images with one label each, by class, and what tells their parts from one another."""


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
        Passed to the class; not passed if None and False, because not all take them.
    arguments
        What else it is given for ``train`` and for ``test``, instead of what `TORCHVISION` says or beside it.
    size, folder
        See `read_dataset`.

    Raises
    ------
    FeaturePathsError
        If torchvision does not find the files or takes no such argument, or as `read_dataset` does.
    """
    import torchvision

    common = ({"root": root} if root is not None else {}) | ({"download": True} if download else {})
    parts, class_names = {}, None
    for part, defaults in zip(PARTS, TORCHVISION[dataset], strict=True):
        given = common | {**defaults, **arguments[part]}
        try:
            opened = getattr(torchvision.datasets, dataset)(**given)
        except Exception as error:  # torchvision's, or a download's, or of what it was given
            raise FeaturePathsError(
                f"torchvision's {dataset} cannot be opened with {given}: {told(error)}. Put its files into data.root, "
                "or set data.download: true where there is a network."
            ) from error
        parts[part] = read_dataset(opened, size, f"the {part} part of {dataset}", folder)
        class_names = class_names or getattr(opened, "classes", None)
    same_shape(parts)
    labels = {part: found for part, (_, found) in parts.items()}
    # some classes have several names
    names = class_names and [name if isinstance(name, str) else name[0] for name in class_names]
    return parts, names_of(labels, names)


def read_dataset(dataset: Any, size: int | None, name: str, folder: Path) -> tuple[ImageRows, np.ndarray]:
    """Read all items of a data set and return the images, uint8 [N, H, W, C], and labels [N].

    Parameters
    ----------
    dataset
        Has a length, and items (image, label): a picture of Pillow's, or an array or tensor of one image; and a whole
        number. Pictures that are not grey become RGB.
    size
        Height and width that the middle square of each image is resized to; None takes images that are all alike.
    name
        What to call it in errors.
    folder
        Holds the images in a file without a name, so that no number of them fills the memory.

    Raises
    ------
    FeaturePathsError
        Naming the first item that is something else, or cannot be read.
    """
    try:
        count = len(dataset)
    except TypeError:
        raise FeaturePathsError(f"{name} is {kind(dataset)}: neither (images, labels) nor a data set.") from None
    if count == 0:
        raise FeaturePathsError(f"There is nothing in {name}.")
    shape: tuple[int, ...] = ()
    labels = np.zeros(count, np.int64)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as spool:
        for row in progress(range(count), f"reading {name}", count, "images"):
            item = f"item {row} of {name}"
            image, labels[row] = _item(dataset, row, item)
            pixels = _pixels(image, size, item)
            shape = shape or pixels.shape
            if pixels.shape[2] == 1 and shape[2] == 3:
                pixels = pixels.repeat(3, axis=2)
            if pixels.shape != shape:
                found, first = ("x".join(map(str, each)) for each in (pixels.shape, shape))
                raise FeaturePathsError(f"{item} is {found}, the first one {first}; data.size resizes images.")
            try:
                spool.write(pixels.tobytes())
            except OSError as error:
                raise FeaturePathsError(f"Images cannot be written to {folder} ({error.strerror}).") from error
        spool.flush()
        return np.memmap(spool, np.uint8, "r", shape=(count, *shape)), labels


def _item(dataset: Any, row: int, name: str) -> tuple[Any, int]:
    try:
        image, label = dataset[row]
    except Exception as error:
        raise FeaturePathsError(f"{name} cannot be read: {told(error)}.") from error
    try:
        number = operator.index(label)
    except TypeError:
        number = -1
    if not 0 <= number < 2**31:
        raise FeaturePathsError(f"{name} has label {label!r}; number the classes from 0.")
    return image, number


def _pixels(image: Any, size: int | None, name: str) -> np.ndarray:
    """Return one image as uint8 [H, W, C]."""
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise FeaturePathsError(f"{name} has more than 8 bits a channel.")
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    return images_of(as_array(image, name)[None], name, None, size)[np.arange(1)][0]


def as_array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # of a tensor on a GPU, or one with a gradient; of lists of different lengths
        raise FeaturePathsError(f"{name} holds {kind(values)} that is no array: {told(error)}.") from error


def kind(value: Any) -> str:
    kind = type(value)
    length = f" of length {len(value)}" if isinstance(value, tuple | list) else ""
    return f"{kind.__module__}.{kind.__qualname__}{length}"
