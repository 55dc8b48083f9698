"""Batches of training images, from memory up to a size limit, else from disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from featurepaths.data.splits import CHUNK, Split
from featurepaths.runtime.prefetch import read_ahead


@dataclass(frozen=True)
class ResidentImages:
    """uint8 images [N, C, H, W] and labels [N] on the training device."""

    images: Tensor
    labels: Tensor

    def batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 images [n, C, H, W] and labels [n] of each batch of row numbers [n]."""
        for rows in batches:
            yield self.images[rows], self.labels[rows]


@dataclass(frozen=True)
class StreamedImages:
    """The images of an open artefact; each batch is read while the previous one is computed."""

    split: Split
    labels: Tensor
    device: torch.device

    def batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield uint8 images [n, C, H, W] and labels [n] of each batch of row numbers [n]."""
        # once, before the first batch: each copy waits for the GPU to finish its work
        on_cpu = [rows.cpu().numpy() for rows in batches]
        pairs = zip(on_cpu, batches, strict=True)
        return read_ahead((self._read(numbers), self.labels[rows]) for numbers, rows in pairs)

    def _read(self, rows: np.ndarray) -> Tensor:
        order = np.argsort(rows)  # HDF5 reads only ascending rows
        images = np.empty((len(rows), *self.split.shape[1:]), np.uint8)
        images[order] = self.split[rows[order]]
        tensor = torch.from_numpy(images)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # so that the copy does not wait for the GPU
        return tensor.to(self.device, non_blocking=True).permute(0, 3, 1, 2)


TrainingImages = ResidentImages | StreamedImages


def training_images(split: Split, device: torch.device, in_memory_mb: float) -> TrainingImages:
    """Return the images of a split: resident if they have at most `in_memory_mb` million bytes, else streamed."""
    labels = torch.from_numpy(split.labels).to(device)
    if np.prod(split.shape) > in_memory_mb * 10**6:
        return StreamedImages(split, labels, device)
    count, height, width, channels = split.shape
    images = torch.empty((count, channels, height, width), dtype=torch.uint8, device=device)
    for start in range(0, count, CHUNK):
        images[start : start + CHUNK] = torch.from_numpy(split[start : start + CHUNK]).permute(0, 3, 1, 2).to(device)
    return ResidentImages(images, labels)
