"""The transport detector."""

import torch
from torch import Tensor

from featurepaths.detectors.density import DensityDetector, log_length
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import unit
from featurepaths.paths.outputs import ModelOutputs


class Transport(DensityDetector):
    r"""How far, and in which direction, residual blocks move an image.

    For consecutive layers of equal size the step :math:`r = h^{l+1} - h^l` has two statistics, :math:`\log|r|` and
    :math:`\cos(r, h^l)`. Source: Karkar, Gallinari and Rakotomamonjy, Adversarial sample detection through neural
    network transport dynamics, 2023 (the paper's reference 10). Two differences: they train a random forest on labelled
    adversarial examples, which a Gaussian of clean images replaces here; and layers are read after the activation here,
    so that a step is not the residual that a block adds before it.
    """

    name = "transport"

    def statistics(self, outputs: ModelOutputs) -> Tensor:
        """Return logarithms of lengths, then cosines: [N, 2 steps]."""
        lengths, cosines = [], []
        for layer in self._steps(outputs):
            before, after = outputs.features[layer - 1], outputs.features[layer]
            step = after - before
            lengths.append(log_length(step))
            cosines.append((unit(step) * unit(before)).sum(dim=1))
        return torch.stack(lengths + cosines, dim=1)

    def _steps(self, outputs: ModelOutputs) -> list[int]:
        """Return the layers whose successor is read too and has as many channels and values."""
        sizes = [(number, feature.shape[1]) for number, feature in zip(self.channels, outputs.features, strict=True)]
        steps = [n for n in self.layers if n + 1 in self.layers and sizes[n - 1] == sizes[n]]
        if not steps:
            raise FeaturePathsError(
                f"{self.name}: no two consecutive layers of {self.layers} have the same size. Leave this detector out "
                "of `detectors`."
            )
        return steps
