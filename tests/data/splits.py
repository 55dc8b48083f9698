"""Shared parts of the tests of image sources: reading whole parts, and the splits written from them."""

import numpy as np

from featurepaths.data.splits import open_split, write_splits
from featurepaths.store.origin import Origin


def everything(parts, part):
    images, labels = parts[part]
    return images[np.arange(len(labels))], labels


def assert_written_splits_are_equal(path, parts, names, size):
    """Write the parts, half of the training images for calibration; each split has `size` images."""
    write_splits(path, parts, names, 0.5, 0, Origin("data", "d"), "here")
    images, labels = everything(parts, "train")
    splits = {}
    for split in ("train", "calibration", "test"):
        with open_split(path, split) as part:
            splits[split] = {image.tobytes(): label for image, label in zip(part[:], part.labels, strict=True)}
    assert [len(splits[split]) for split in splits] == [size] * 3
    assert splits["train"] | splits["calibration"] == {i.tobytes(): n for i, n in zip(images, labels, strict=True)}
