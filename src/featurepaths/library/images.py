"""Images of a loader in memory, as attacks take those of a data set on the disk."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from featurepaths.data.splits import Split, evenly_spaced
from featurepaths.defense.checks import Batches, check_batches
from featurepaths.errors import FeaturePathsError

CPU = torch.device("cpu")


class LoadedImages(Split):
    """Images in memory, float32 [N, C, H, W] in [0, 1]; their random starts depend on `indices` [N]."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all the images, [N, C, H, W]."""
        return self.dataset.shape

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the images of some rows: float32 [n, C, H, W]."""
        return self.dataset[rows]


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raise FeaturePathsError if a label is not a class of the model."""
    if labels.max() >= classes:
        raise FeaturePathsError(f"There is a label {labels.max()}, but the model has {classes} logits, from 0.")


def load_images(
    loader: Batches, classes: int | None = None, limit: int | None = None, indices: Sequence[int] | None = None
) -> LoadedImages:
    """Read the labelled images of a loader, or `limit` of them, evenly spaced.

    Parameters
    ----------
    classes
        Number of the model's classes; None if labels are not to be compared with it.
    indices
        A different number for every labelled image of the loader; None for 0, 1, 2, ...

    Raises
    ------
    FeaturePathsError
        If batches are not images in [0, 1] with labels below `classes`, images differ in shape, there are none, a
        loader of which a part is taken can be read only once, or `indices` are not one per image.
    """
    positions = None
    if limit is not None:
        if isinstance(loader, Iterator):
            raise FeaturePathsError(
                "max_images reads the loader twice, but this one is an iterator. Pass one that restarts, such as a "
                "DataLoader."
            )
        positions = evenly_spaced(sum(len(labels) for _, labels in check_batches(loader, CPU)), limit)
    parts, count = [], 0
    for images, labels in check_batches(loader, CPU):
        rows = np.arange(count, count + len(labels))
        count += len(labels)
        selected = np.ones(len(rows), bool) if positions is None else np.isin(rows, positions)
        parts.append((images.float().numpy()[selected], labels[selected], rows[selected]))
    if count == 0:
        raise FeaturePathsError("The loader has no labelled image.")
    if len(shapes := {images.shape[1:] for images, *_ in parts}) > 1:
        raise FeaturePathsError(f"The images have different shapes, {sorted(shapes)}. Crop or resize them to one.")
    pixels, labels, rows = (np.concatenate(values) for values in zip(*parts, strict=True))
    if classes is not None:
        check_labels(labels, classes)
    if indices is not None and not len(indices) == len(set(indices)) == count:
        raise FeaturePathsError(f"indices: pass {count} different numbers, one for each image, not {len(indices)}.")
    return LoadedImages(pixels, labels.astype(np.int64), rows if indices is None else np.asarray(indices)[rows], [])
