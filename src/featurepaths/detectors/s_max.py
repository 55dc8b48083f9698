"""The paper's S_max as a detector."""

from collections.abc import Sequence

import torch
from torch import Tensor

from featurepaths.detectors.base import DetectorInputs, LayerDetector
from featurepaths.paths.outputs import ModelOutputs


class SMax(LayerDetector):
    """The paper's own detector, eq. (5), to stand beside its rivals: there is nothing left for it to learn."""

    name = "feature-paths"

    def __init__(self, layers: Sequence[int] | None = None, weights: Sequence[float] = ()):
        super().__init__(layers)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float64))

    def statistics(self, observed: ModelOutputs) -> Tensor:
        """Return the greatest weighted similarity to a class, over the layers, [N, 1]."""
        chosen = observed.similarity[:, torch.tensor(self.layers) - 1].double()
        return torch.einsum("nlc,l->nc", chosen, self.weights).amax(dim=1, keepdim=True)

    def score_samples(self, evidence: DetectorInputs) -> Tensor:
        """Return that similarity."""
        return evidence.statistics.squeeze(1)
