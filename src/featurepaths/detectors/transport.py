"""The transport detector."""

import torch
from torch import Tensor

from featurepaths.detectors.base import DensityDetector, log_length
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs, unit


class Transport(DensityDetector):
    r"""How far, and in which direction, residual blocks move an image.

    For consecutive layers of equal size the step :math:`r = h^{l+1} - h^l` gives two statistics, :math:`\log|r|` and
    :math:`\cos(r, h^l)`. Source: Karkar, Gallinari and Rakotomamonjy, Adversarial sample detection through neural
    network transport dynamics, 2023 (the paper's reference 10). What differs: they train a random forest on labelled
    adversarial examples, here a Gaussian of clean images stands in its place; and layers are tapped after the
    activation here, so that a step is not the residual that a block adds before it.
    """

    name = "transport"

    def statistics(self, observed: ModelOutputs) -> Tensor:
        """Return logarithms of lengths, then cosines: [N, 2 steps]."""
        lengths, cosines = [], []
        for layer in self._steps(observed):
            before, after = observed.features[layer - 1], observed.features[layer]
            step = after - before
            lengths.append(log_length(step))
            cosines.append((unit(step) * unit(before)).sum(dim=1))
        return torch.stack(lengths + cosines, dim=1)

    def _steps(self, observed: ModelOutputs) -> list[int]:
        """Return the layers that a step to one of as many channels and values starts from."""
        sizes = [(number, feature.shape[1]) for number, feature in zip(self.channels, observed.features, strict=True)]
        steps = [n for n in self.layers if n + 1 in self.layers and sizes[n - 1] == sizes[n]]
        if not steps:
            raise FeaturePathsError(f"{self.name}: no two consecutive layers of {self.layers} have the same size.")
        return steps
