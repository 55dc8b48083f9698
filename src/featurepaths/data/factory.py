"""Data sets from a user's factory function."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurepaths.data.images import PARTS, images_of, same_shape
from featurepaths.data.labels import labels_of, names_of
from featurepaths.data.splits import Parts
from featurepaths.data.torchvision import as_array, kind, read_dataset
from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.entry_points import call_factory


def load_made(
    factory: str, arguments: Mapping[str, Any], layout: str | None, size: int | None, folder: Path
) -> tuple[Parts, list[str]]:
    """Return the training and test images that a function of one's own makes, and the names of the classes.

    Parameters
    ----------
    factory
        The function, as ``package.module:function``. It returns (train, test, class_names): either part is a tuple
        (images, labels) of arrays, as `featurepaths.data.images.images_of` and `labels_of` take them, or a data set, as
        `read_dataset` does; class_names is a list, or None for their numbers.
    arguments
        What it is given.
    layout, size
        See `featurepaths.data.images.layout_of` and `ArrayImages`.
    folder
        See `read_dataset`.

    Raises
    ------
    FeaturePathsError
        If the function cannot be called or fails, or returns something else.
    """
    made = call_factory(factory, arguments)
    if not isinstance(made, tuple) or len(made) != 3:
        raise FeaturePathsError(f"{factory} should return (train, test, class_names), not {kind(made)}.")
    parts = {}
    for part, given in zip(PARTS, made[:2], strict=True):
        name = f"the {part} part of {factory}"
        if isinstance(given, tuple) and len(given) == 2:
            images, labels = (as_array(values, name) for values in given)
            pictures = images_of(images, f"images of {name}", layout, size)
            parts[part] = pictures, labels_of(labels, pictures, f"labels of {name}")
        else:
            parts[part] = read_dataset(given, size, name, folder)
    same_shape(parts)
    class_names = None if made[2] is None else [str(name) for name in made[2]]
    return parts, names_of({part: labels for part, (_, labels) in parts.items()}, class_names)
