"""Labels and class names in arrays."""

from collections.abc import Mapping

import numpy as np

from featurepaths.data.images import ArrayImages, Rows
from featurepaths.errors import FeaturePathsError


def labels_of(rows: Rows, images: ArrayImages, name: str) -> np.ndarray:
    """Return the labels [N] of images, from whole numbers [N] or [N, 1].

    Raises
    ------
    FeaturePathsError
        If they are others, or not as many as the images.
    """
    shape = tuple(rows.shape)
    if shape not in ((images.shape[0],), (images.shape[0], 1)):
        one_hot = " Take the argmax of what is one-hot." if len(shape) == 2 else ""
        raise FeaturePathsError(f"{name} has shape {shape}, with {images.shape[0]} images: one label each.{one_hot}")
    if rows.dtype.kind not in "iu":
        raise FeaturePathsError(f"{name} holds {rows.dtype}; labels are whole numbers from 0: labels.astype(int).")
    labels = rows[np.arange(shape[0])].reshape(-1)
    for extreme in (labels.min(), labels.max()):
        if not 0 <= extreme < 2**31:
            raise FeaturePathsError(f"{name} holds {extreme}; number the classes from 0.")
    return labels.astype(np.int64)


def names_of(labels: Mapping[str, np.ndarray], class_names: list[str] | None) -> list[str]:
    """Return the names of all classes: `class_names`, or their numbers.

    Raises
    ------
    FeaturePathsError
        If there are labels without a name.
    """
    count = 1 + max(int(found.max()) for found in labels.values())
    if class_names is None:
        if count > sum(map(len, labels.values())):
            raise FeaturePathsError(f"A label is {count - 1}, and there are fewer images: number the classes from 0.")
        return [str(number) for number in range(count)]
    if count > len(class_names):
        raise FeaturePathsError(f"A label is {count - 1}, but class_names has only {len(class_names)} (from 0).")
    return class_names
