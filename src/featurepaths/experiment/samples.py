"""A sample of the images before an experiment runs: problems of the images, and a network's accuracy on them."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from featurepaths.data.size import DataSize
from featurepaths.data.sources import open_source
from featurepaths.data.splits import PARTS, SPLITS, Rows, open_split, rows_of_splits, warn_of_few_levels
from featurepaths.experiment.artefact import Artefact
from featurepaths.experiment.config.data import AnyData
from featurepaths.experiment.external import READ_TO_KNOW

GREATEST, FEWEST, PIECE = 320, 32, 16
"""Numbers of images of a sample, of images for which a network's accuracy is reported, and of images at a time."""
SECONDS = 2
"""No further piece is read, or classified, after this."""


class Sample(NamedTuple):
    """Images drawn at random, uint8 [n, H, W, C], and their labels [n]."""

    images: np.ndarray
    labels: np.ndarray


class Look(NamedTuple):
    """The number of images of each split, the size of the data set, and a sample of its test images."""

    counts: dict[str, int]
    size: DataSize
    sample: Sample


def sample_of(data: AnyData, artefact: Artefact) -> Sample | None:
    """Return a sample of the test images, from data.h5 if it is up to date, or else from the source.

    Of the source, a sample of the training images and all labels are checked as well, and warnings are printed. Data
    sets of torchvision, of a factory, or that may have to be downloaded have no sample: None.

    Raises
    ------
    FeaturePathsError
        If the data set cannot be used.
    """
    if artefact.is_there and artefact.up_to_date:
        with open_split(artefact.path, "test") as split:
            return _draw(split, split.labels)
    if data.source in READ_TO_KNOW or getattr(data, "download", False):
        return None
    return look_into(data).sample


def look_into(data: AnyData) -> Look:
    """Read all labels of a data set, and a sample of its training and test images; warnings are printed.

    Raises
    ------
    FeaturePathsError
        If the data set cannot be used.
    """
    with ThreadPoolExecutor() as pool, open_source(data, Path.cwd(), pool) as (parts, class_names, _):
        labels = {part: labels for part, (_, labels) in parts.items()}
        rows = rows_of_splits(labels, class_names, float(data.calibration), data.seed)
        samples = {part: _draw(*parts[part]) for part in PARTS}
        shape = parts["train"][0].shape[1:]
    warn_of_few_levels(max(int(sample.images.max()) for sample in samples.values()))
    counts = {split: len(rows[split]) for split in SPLITS}
    return Look(counts, DataSize(sum(counts.values()), len(class_names), *shape), samples["test"])


def _draw(images: Rows, labels: np.ndarray) -> Sample:
    """Return `GREATEST` images at random, or those of them that were read after `SECONDS`."""
    drawn = np.random.default_rng(0).permutation(len(labels))[:GREATEST]
    pieces = [np.sort(drawn[start : start + PIECE]) for start in range(0, len(drawn), PIECE)]
    batches, end = [], time.monotonic() + SECONDS
    for rows in pieces:
        batches.append(images[rows])
        if time.monotonic() > end:
            break
    return Sample(np.concatenate(batches), labels[np.concatenate(pieces[: len(batches)])])


def correct_in(network: nn.Module, sample: Sample) -> np.ndarray | None:
    """Return whether a network is right on images of a sample, bool [n]: those that it classifies in `SECONDS`.

    It maps images in [0, 1] to logits, as `featurepaths.networks.external.model.ExternalNetwork` does.
    None if they are fewer than `FEWEST`.
    """
    correct, end = [], time.monotonic() + SECONDS
    for start in range(0, len(sample.labels), PIECE):
        images, labels = (torch.from_numpy(values[start : start + PIECE]) for values in sample)
        images = images.permute(0, 3, 1, 2).contiguous().float() / 255
        with torch.no_grad():
            correct.append(network(images).argmax(dim=1) == labels)
        if time.monotonic() > end:
            break
    right = torch.cat(correct).numpy()
    return right if len(right) >= FEWEST else None
