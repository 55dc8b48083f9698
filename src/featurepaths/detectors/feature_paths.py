"""The paper's score as a differentiable detector; eq. (5) itself is in `featurepaths.paths.equations`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from featurepaths.detectors.base import DetectorInputs, LayerDetector
from featurepaths.paths.outputs import ModelOutputs


class SMax(LayerDetector):
    """The paper's own detector, eq. (5), with the interface of the others and set layers and weights."""

    name = "feature-paths"

    def __init__(self, layers: Sequence[int] | None = None, weights: Sequence[float] = ()):
        super().__init__(layers)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float64))

    def statistics(self, outputs: ModelOutputs) -> Tensor:
        """Return the greatest weighted similarity to a class, over the layers, [N, 1]."""
        return outputs.s_max(self.layers, self.weights).unsqueeze(1)

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return that similarity."""
        return inputs.statistics.squeeze(1)
