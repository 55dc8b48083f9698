"""A model's outputs for images as tensors: logits, features and feature paths (eq. 2), differentiable."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from featurepaths.paths.equations import cosine_similarity_tensor, s_max_tensor
from featurepaths.store.hdf5 import layers_in, open_hdf5


class ModelOutputs(NamedTuple):
    """A model's outputs for N images, in float32; differentiable if they come from a forward pass.

    `logits` [N, C]; `features`, by layer [N, d_l], pooled as the paths are; `similarity` [N, L, C] to the centroids.
    """

    logits: Tensor
    features: list[Tensor]
    similarity: Tensor

    def take(self, rows: slice | Tensor) -> "ModelOutputs":
        """Return the outputs for some images, selected by a slice, positions or a mask."""
        return ModelOutputs(self.logits[rows], [feature[rows] for feature in self.features], self.similarity[rows])

    def blanked(self, rows: Tensor) -> "ModelOutputs":
        """Return the outputs with zeros as the logits and similarities of some images, bool [N]; features stay."""
        logits = self.logits.masked_fill(rows.view(-1, 1), 0)
        return ModelOutputs(logits, self.features, self.similarity.masked_fill(rows.view(-1, 1, 1), 0))

    def s_max(self, layers: Sequence[int], weights: Tensor) -> Tensor:
        """Return S_max, eq. (5), over `layers` (from 1) with float64 weights [L]: float64 [N], differentiable."""
        return s_max_tensor(self.similarity, layers, weights)


def model_outputs(logits: Tensor, features: list[Tensor], centroids: Sequence[Tensor]) -> ModelOutputs:
    """Return outputs with the feature paths, eq. (2), of features, by layer [N, d_l], to centroids [C, d_l]."""
    paths = [cosine_similarity_tensor(*layer) for layer in zip(features, centroids, strict=True)]
    return ModelOutputs(logits, features, torch.stack(paths, dim=1))


def read_centroids(path: Path) -> list[Tensor]:
    """Return the centroids [C, d_l] of every layer, from their artefact."""
    with open_hdf5(path) as file:
        return [torch.from_numpy(file[name][:]) for name in layers_in(file)]
