"""Labels and class names in arrays."""

from collections.abc import Sequence

import numpy as np

from featurepaths.data.images import ArrayImages, Rows, by
from featurepaths.data.splits import PARTS, Parts
from featurepaths.errors import FeaturePathsError


def labels_of(rows: Rows, images: ArrayImages, name: str) -> np.ndarray:
    """Return the labels [N] of images, from integers [N] or [N, 1].

    Raises
    ------
    FeaturePathsError
        If the labels have another shape or type, or are negative.
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


def checked_names(parts: Parts, class_names: Sequence[str] | None) -> list[str]:
    """Return the names of all classes: `class_names`, or their numbers if that is None.

    Raises
    ------
    FeaturePathsError
        If training and test images [N, H, W, C] have different shapes, or a label has no name.
    """
    train, test = (parts[part][0].shape[1:] for part in PARTS)
    if train != test:
        raise FeaturePathsError(f"Training images are {by(train)}, test images {by(test)}; set data.size.")
    count = 1 + max(int(labels.max()) for _, labels in parts.values())
    if class_names is None:
        if count > sum(len(labels) for _, labels in parts.values()):
            raise FeaturePathsError(f"A label is {count - 1}, and there are fewer images: number the classes from 0.")
        return [str(number) for number in range(count)]
    if count > len(class_names):
        raise FeaturePathsError(f"A label is {count - 1}, but class_names has only {len(class_names)} (from 0).")
    return list(class_names)
