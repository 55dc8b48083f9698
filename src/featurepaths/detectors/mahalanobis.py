"""The Mahalanobis detector (Lee et al., 2018)."""

import torch
from torch import Tensor

from featurepaths.detectors.averaged import TrainedDetector
from featurepaths.detectors.moments import Moments
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs

RIDGE = 1e-6
"""Added to the variances of standardised channels, some of which may depend on others."""


class Mahalanobis(TrainedDetector):
    r"""Minus the squared distance to the nearest class, :math:`-\min_c (z - m_c)^T \Sigma^{-1} (z - m_c)`, per layer.

    z are the averages of a layer's channels, each divided by its standard deviation within the classes, :math:`m_c` the
    class means and :math:`\Sigma` the one covariance within the classes, of the training images, shrunk towards the
    identity (see `Moments.result`). Sources: Lee et al., NeurIPS 2018, for the distance; Ledoit and Wolf, 2004, for
    the shrinkage. Scores do not depend on the units of the channels, and exist where a covariance has no inverse.

    Lee et al. neither standardise nor shrink, weight the layers by a logistic regression trained on adversarial
    examples, and first move the image towards the nearest class. Here no detector is fitted to adversarial examples, so
    layers have equal weights, and images are scored as they are.
    """

    name = "mahalanobis"
    accumulator = Moments

    def parameters_of(self, accumulator: Moments) -> dict[str, Tensor]:
        """Return the origin, the whitening and the whitened class means of a layer."""
        try:
            means, scale, covariance = accumulator.result()
        except FeaturePathsError as error:
            raise FeaturePathsError(f"{self.name}: {error}") from error
        varies = torch.nonzero(scale).flatten()
        factor = torch.linalg.cholesky(covariance + RIDGE * torch.eye(len(varies)).to(covariance))
        whitening = torch.zeros(len(varies), len(scale)).to(covariance)
        whitening[:, varies] = torch.linalg.solve_triangular(factor, torch.diag(1 / scale[varies]), upper=False)
        origin = means.mean(dim=0)
        return {"origin": origin, "whitening": whitening, "centres": (means - origin) @ whitening.T}

    def layer_score(self, outputs: ModelOutputs, layer: int) -> Tensor:
        """Return minus the squared distance to the nearest class."""
        origin, whitening, centres = (self.get_buffer(f"{name}_{layer}") for name in ("origin", "whitening", "centres"))
        white = (self.channel_means(outputs, layer).double() - origin) @ whitening.T
        # |a - b|^2 in parts, as N x C x d would be large, finds the nearest; cancellation would leave too little of it
        nearest = (centres.square().sum(1) - 2 * white.detach() @ centres.T).argmin(dim=1)
        return -(white - centres[nearest]).square().sum(dim=1)
