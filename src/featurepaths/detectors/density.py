"""A Gaussian by class: how usual an image's statistics are among clean images of the class that the network names."""

import math

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError

MEAN_IMAGES = 5
"""Images that a class needs for a mean of its own."""
COVARIANCE_IMAGES = 5
"""Images that a class needs for a covariance of its own, for each statistic."""
RIDGE = 1e-6
"""Added to the variances of standardised statistics, so that one that never varies does no harm."""


class Standard(nn.Module):
    """Shift and scale of columns [N, S] to mean 0 and standard deviation 1, as measured on some rows."""

    def fit(self, values: Tensor) -> None:
        """Measure mean and standard deviation of values [N, S]; a column that does not vary is only shifted."""
        values = values.detach().double()
        std = values.std(dim=0, correction=0)
        # what is left of a constant after its mean was rounded is not a deviation
        varies = std > 1e-9 * values.abs().amax(dim=0)
        self.register_buffer("mean", values.mean(dim=0))
        self.register_buffer("std", torch.where(varies, std, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Return values [N, S] standardised, in float64."""
        return (values.double() - self.mean) / self.std


class Density(nn.Module):
    r"""A Gaussian for each class c over standardised statistics z [N, S].

    .. math:: \log p(z | c) = -\tfrac12 (z - \mu_c)^T \Sigma_c^{-1} (z - \mu_c) - \tfrac12 \log\det 2\pi\Sigma_c

    Covariances are shrunk as Ledoit and Wolf (2004) do, by scikit-learn. A class with at least `COVARIANCE_IMAGES`
    images a statistic has its own; one with fewer has its own mean, and the covariance of all images about their
    classes' means; one with fewer than `MEAN_IMAGES`, or none at all, has the mean and the covariance of all images
    together.
    """

    def __init__(self):
        super().__init__()
        self.standard = Standard()

    def fit(self, statistics: Tensor, labels: Tensor, classes: int) -> None:
        """Learn from statistics [N, S] of images of classes `labels` [N].

        Raises
        ------
        FeaturePathsError
            If a statistic is not finite, or there are fewer than two images.
        """
        if len(statistics) < 2:
            raise FeaturePathsError(
                "A density needs at least two clean calibration images: set data.calibration higher."
            )
        if not torch.isfinite(statistics).all():
            raise FeaturePathsError("A statistic of the calibration images is not finite. Delete their features.")
        self.standard.fit(statistics)
        values = self.standard(statistics.detach())
        width = values.shape[1]

        counts = torch.bincount(labels, minlength=classes)
        overall = values.mean(dim=0)
        has_mean, has_covariance = counts >= MEAN_IMAGES, counts >= COVARIANCE_IMAGES * width
        means = overall.repeat(classes, 1)
        for c in torch.nonzero(has_mean).flatten().tolist():
            means[c] = values[labels == c].mean(dim=0)
        residuals = values - means[labels]
        covariances = _shrunk(values - overall).repeat(classes, 1, 1)
        if has_mean.any():
            covariances[has_mean] = _shrunk(residuals[has_mean[labels]])
        for c in torch.nonzero(has_covariance).flatten().tolist():
            covariances[c] = _shrunk(residuals[labels == c])
        factor = torch.linalg.cholesky(covariances)
        identity = torch.eye(width).to(factor)
        self.register_buffer("means", means)
        self.register_buffer("whitening", torch.linalg.solve_triangular(factor, identity, upper=False))
        half_log_det = factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        self.register_buffer("constants", -half_log_det - width / 2 * math.log(2 * math.pi))

    def forward(self, statistics: Tensor, labels: Tensor) -> Tensor:
        """Return the log density of statistics [N, S] in the classes `labels` [N]: float64 [N]."""
        residuals = self.standard(statistics) - self.means[labels]
        white = torch.einsum("nst,nt->ns", self.whitening[labels], residuals)
        return self.constants[labels] - white.square().sum(dim=1) / 2


def _shrunk(residuals: Tensor) -> Tensor:
    """Return Ledoit and Wolf's covariance of residuals [N, S] whose mean is known to be 0."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(residuals.cpu().numpy(), assume_centered=True)
    return torch.from_numpy(covariance).to(residuals) + RIDGE * torch.eye(residuals.shape[1]).to(residuals)
