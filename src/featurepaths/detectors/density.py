"""A Gaussian per class: how usual an image's statistics are among clean images of the class that is predicted."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from featurepaths.detectors.averaged import Standardise
from featurepaths.detectors.base import DetectorInputs, LayerDetector
from featurepaths.errors import FeaturePathsError

MEAN_IMAGES = 5
"""Number of images from which a class has its own mean."""
COVARIANCE_IMAGES = 5
"""Number of images per statistic from which a class has its own covariance."""
RIDGE = 1e-6
"""Added to the variances of standardised statistics, so that a constant one does no harm."""
SMALLEST_LENGTH = 1e-6
"""Added, squared, to squared lengths before their logarithm is taken, so that a zero feature has a gradient."""


class Density(nn.Module):
    r"""A Gaussian for each class c over standardised statistics z [N, S].

    .. math:: \log p(z | c) = -\tfrac12 (z - \mu_c)^T \Sigma_c^{-1} (z - \mu_c) - \tfrac12 \log\det 2\pi\Sigma_c

    Covariances are shrunk as Ledoit and Wolf (2004) do, by scikit-learn. A class with at least `COVARIANCE_IMAGES`
    images per statistic has its own; one with fewer has its own mean, and the covariance of all images about the means
    of their classes; one with fewer than `MEAN_IMAGES` images, or none, has the mean and covariance of all images.
    """

    def __init__(self):
        super().__init__()
        self.standard = Standardise()

    def fit(self, statistics: Tensor, labels: Tensor, classes: int) -> None:
        """Fit the Gaussians to statistics [N, S] of images of classes `labels` [N].

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
            raise FeaturePathsError(
                "A statistic of a calibration image is not finite. Delete these images' features and run again."
            )
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


class DensityDetector(LayerDetector):
    """A detector whose score is the log density of statistics in the predicted class: see `Density`."""

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__(layers)
        self.density = Density()

    def calibrate(self, calibration: DetectorInputs) -> None:
        """Fit the density."""
        logits = self.check_finite(calibration.logits, "calibration image")
        self.density.fit(calibration.statistics, logits.argmax(dim=1), logits.shape[1])

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return the log density."""
        return self.density(inputs.statistics, inputs.logits.argmax(dim=1))


def log_length(vectors: Tensor) -> Tensor:
    """Return the logarithm of the lengths of vectors [N, d], [N]; it and its gradient are finite at 0."""
    return (vectors.square().sum(dim=1) + SMALLEST_LENGTH**2).log() / 2


def _shrunk(residuals: Tensor) -> Tensor:
    """Return Ledoit and Wolf's covariance of residuals [N, S] whose mean is 0."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(residuals.cpu().numpy(), assume_centered=True)
    return torch.from_numpy(covariance).to(residuals) + RIDGE * torch.eye(residuals.shape[1]).to(residuals)
