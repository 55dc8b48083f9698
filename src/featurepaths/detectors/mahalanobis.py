"""The Mahalanobis detector (Lee et al., 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from featurepaths.detectors.base import RIDGE, AveragedDetector, Moments, finite
from featurepaths.paths.outputs import ModelOutputs


class Mahalanobis(AveragedDetector):
    r"""Minus the squared distance to the nearest class, :math:`-\min_c (z - m_c)^T \Sigma^{-1} (z - m_c)`, by layer.

    z are the averages of a layer's channels, each divided by its standard deviation within the classes, :math:`m_c` the
    class means and :math:`\Sigma` the one covariance within the classes, of the training images, shrunk towards the
    identity (see `Moments.result`). Sources: Lee et al., NeurIPS 2018, for the distance; Ledoit and Wolf, 2004, for
    the shrinkage. Scores do not depend on the units of the channels, and exist where a covariance has no inverse.

    Lee et al. neither standardise nor shrink, weight the layers by a logistic regression that is trained on adversarial
    examples, and move the image towards the nearest class first; here no detector sees adversarial examples, so layers
    weigh the same, and images are scored as they are.
    """

    name = "mahalanobis"
    learns = True

    def start(self, channels: Sequence[int]) -> None:
        """Start with nothing, in each layer."""
        super().start(channels)
        self.moments = {layer: Moments() for layer in self.layers}

    def add(self, observed: ModelOutputs, labels: Tensor) -> None:
        """Add to the moments of each class, in float64."""
        classes = observed.logits.shape[1]
        for layer, found in self.moments.items():
            values = self.channel_means(observed, layer).detach()
            found.add(finite(values, f"training image in layer {layer}", self.name), labels, classes)

    def finish(self) -> None:
        """Learn class means and covariances."""
        for layer, found in self.moments.items():
            means, scale, covariance = found.result(self.name)
            varies = torch.nonzero(scale).flatten()
            factor = torch.linalg.cholesky(covariance + RIDGE * torch.eye(len(varies)).to(covariance))
            whitening = torch.zeros(len(varies), len(scale)).to(covariance)
            whitening[:, varies] = torch.linalg.solve_triangular(factor, torch.diag(1 / scale[varies]), upper=False)
            origin = means.mean(dim=0)
            self.register_buffer(f"origin_{layer}", origin)
            self.register_buffer(f"whitening_{layer}", whitening)
            self.register_buffer(f"centres_{layer}", (means - origin) @ whitening.T)
        del self.moments

    def layer_score(self, observed: ModelOutputs, layer: int) -> Tensor:
        """Return minus the squared distance to the nearest class."""
        centres = self.get_buffer(f"centres_{layer}")
        values = self.channel_means(observed, layer).double() - self.get_buffer(f"origin_{layer}")
        white = values @ self.get_buffer(f"whitening_{layer}").T
        # |a - b|^2 in parts, as N x C x d would be large, finds the nearest; cancellation would leave too little of it
        nearest = (centres.square().sum(1) - 2 * white.detach() @ centres.T).argmin(dim=1)
        return -(white - centres[nearest]).square().sum(dim=1)
