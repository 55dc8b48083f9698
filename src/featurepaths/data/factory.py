"""Data sets from a user's factory function."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurepaths.data.images import checked_names, images_of, labels_of
from featurepaths.data.splits import PARTS, Parts
from featurepaths.data.torchvision import as_array, read_dataset, type_text
from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.entry_points import call_factory


def load_made(
    factory: str, arguments: Mapping[str, Any], layout: str | None, size: int | None, folder: Path
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
    folder
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
            parts[part] = images, labels_of(labels, images, f"labels of {name}")
        else:
            parts[part] = read_dataset(dataset, size, name, folder)
    return parts, checked_names(parts, class_names)
