"""What a network shows of images, as tensors: logits, features and feature paths (eq. 2), differentiable."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from featurepaths.store.hdf5 import layers_in, open_hdf5


class ModelOutputs(NamedTuple):
    """What a network shows of N images; float32, and differentiable where it comes from a forward pass.

    `logits` [N, C]; `features`, by layer [N, d_l], pooled as the paths are; `similarity` [N, L, C] to the centroids.
    """

    logits: Tensor
    features: list[Tensor]
    similarity: Tensor

    def take(self, rows: slice | Tensor) -> "ModelOutputs":
        """Return some of the images: by a slice, positions or a mask."""
        return ModelOutputs(self.logits[rows], [feature[rows] for feature in self.features], self.similarity[rows])

    def blanked(self, rows: Tensor) -> "ModelOutputs":
        """Return zeros in the place of the logits and similarities of some images, bool [N]; features stay."""
        logits = self.logits.masked_fill(rows.view(-1, 1), 0)
        return ModelOutputs(logits, self.features, self.similarity.masked_fill(rows.view(-1, 1, 1), 0))


def model_outputs(logits: Tensor, features: list[Tensor], centroids: Sequence[Tensor]) -> ModelOutputs:
    """Compare features, by layer [N, d_l], with each layer's centroids [C, d_l], unit vectors, by their cosine.

    What `featurepaths.paths.equations.similarities` computes. A zero feature has similarity 0 to every class, and a
    finite gradient.
    """
    by_layer = [_cosine(feature, found) for feature, found in zip(features, centroids, strict=True)]
    return ModelOutputs(logits, features, torch.stack(by_layer, dim=1))


def read_centroids(path: Path) -> list[Tensor]:
    """Return the centroids [C, d_l] of every layer, from their artefact."""
    with open_hdf5(path) as file:
        return [torch.from_numpy(file[name][:]) for name in layers_in(file)]


def unit(vectors: Tensor) -> Tensor:
    """Return vectors [N, d] scaled to length 1; a zero vector stays zero, and its gradient is finite.

    One too long for its type (float32: from 1e19) gives NaN, which is refused where scores are taken, and not zero.
    """
    return vectors / _length_or_one(vectors)


def _cosine(feature: Tensor, centroids: Tensor) -> Tensor:
    return (feature @ centroids.T / _length_or_one(feature)).clamp(-1, 1)


def _length_or_one(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)  # whose gradient at 0 is 0
    length = length + 0 * length.detach()  # NaN where it is infinite
    return torch.where(length == 0, 1, length)
