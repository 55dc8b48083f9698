"""The Mahalanobis detector (Lee et al., 2018), and class means and covariances accumulated chunk by chunk."""

import torch
from torch import Tensor
from torch.nn import functional as F

from featurepaths.detectors.averaged import EvenlySpaced, TrainedDetector
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs

RIDGE = 1e-6
"""Added to the variances of standardised channels, some of which may depend on others."""


class Moments:
    """Class means and the covariance within classes, accumulated in float64.

    Products are of differences from the first image of the class: what the classes have in common does not cancel, and
    classes whose images are equal have a covariance of exactly zero.
    """

    def __init__(self):
        self.counts = None
        self.values, self.labels = EvenlySpaced(), EvenlySpaced()

    def add(self, values: Tensor, labels: Tensor, classes: int) -> None:
        """Add values [n, d] of images of classes `labels` [n]."""
        self.values.add(values)
        self.labels.add(labels)
        precision = torch.finfo(values.dtype).eps
        values = values.double()
        if self.counts is None:
            self.precision = precision
            self.counts = values.new_zeros(classes)
            self.firsts, self.sums = (values.new_zeros(classes, values.shape[1]) for _ in range(2))
            self.products = values.new_zeros(values.shape[1], values.shape[1])
        membership = F.one_hot(labels, classes).to(values)
        in_chunk = membership.sum(dim=0)
        new = (self.counts == 0) & (in_chunk > 0)
        self.firsts[new] = values[membership.argmax(dim=0)[new]]
        values = values - self.firsts[labels]
        self.counts += in_chunk
        self.sums += membership.T @ values
        self.products += values.T @ values

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return class means [C, d], scales [d] and the shrunk covariance of the m standardised channels [m, m].

        A channel's scale is its standard deviation within the classes, or the rounding of its values where that is
        larger; 0 for channels that are zero on all images. These are left out of the covariance, as they are by the
        pseudoinverse of Lee et al.

        Ledoit and Wolf (2004) shrink the covariance S of residuals z towards :math:`\mu I`, :math:`\mu = tr(S) / m`,
        by the share :math:`\beta / \delta`, :math:`\beta = \min(\delta, (E|z|^4 - |S|^2) / N)`,
        :math:`\delta = |S|^2 - m \mu^2`, as scikit-learn does. :math:`E|z|^4` is taken over at most 5,000
        evenly spaced images: it would take a second pass, as scales and means are only known at the end.

        Raises
        ------
        FeaturePathsError
            If a class has no image.
        """
        if self.counts is None or (self.counts == 0).any():
            missing = "any class" if self.counts is None else f"class {int(self.counts.argmin())}"
            raise FeaturePathsError(f"There is no training image of {missing}. Add one to the training data.")
        offsets = self.sums / self.counts[:, None]
        means = self.firsts + offsets
        count = self.counts.sum()
        within = (self.products - self.sums.T @ offsets) / count
        std = within.diagonal().clamp(min=0).sqrt()
        scale = torch.maximum(std, self.precision * means.abs().amax(dim=0))
        varies = torch.nonzero(scale).flatten()
        inverse = 1 / scale[varies]
        covariance = (within + within.T)[varies][:, varies] / 2 * inverse[:, None] * inverse

        labels = self.labels.rows
        residuals = (self.values.rows.double() - self.firsts[labels] - offsets[labels])[:, varies] * inverse
        fourth = residuals.square().sum(dim=1).square().mean()
        mean = covariance.diagonal().mean() if len(varies) else 0
        identity = torch.eye(len(varies)).to(covariance)
        spread = covariance.square().sum()
        delta = (covariance - mean * identity).square().sum()
        beta = ((fourth - spread) / count).clamp(min=0)
        shrinkage = torch.where(beta < delta, beta / delta, (beta > 0).to(beta))
        return means, scale, (1 - shrinkage) * covariance + shrinkage * mean * identity


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
