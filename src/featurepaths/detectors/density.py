"""Detectors by density: how usual an image's statistics are among clean images of the class that is predicted."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.detectors.averaged import Standardise
from featurepaths.detectors.base import DetectorInputs, LayerDetector
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import unit
from featurepaths.paths.outputs import ModelOutputs

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
        """Fit the Gaussians to statistics [N, S] of two or more images of classes `labels` [N]."""
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
        logits = self.check_calibration(calibration.logits)
        statistics = self.check_calibration(calibration.statistics)
        self.density.fit(statistics, logits.argmax(dim=1), logits.shape[1])

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return the log density."""
        return self.density(inputs.statistics, inputs.logits.argmax(dim=1))


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


class PathDensity(DensityDetector):
    """The whole feature path at once, compared with those of clean images of the predicted class.

    For every layer: the similarity to the centroid of the predicted class, its margin over the best other class, and
    the logarithm of the feature's length. S_max measures whether an image is near any class on average; this measures
    whether its path is usual for images of this class, where too near is as unusual as too far.
    """

    name = "path-density"

    def statistics(self, outputs: ModelOutputs) -> Tensor:
        """Return own similarities, margins and logarithms of lengths: [N, 3 layers]."""
        similarity = outputs.similarity[:, torch.tensor(self.layers) - 1]
        own_class = F.one_hot(outputs.logits.argmax(dim=1), outputs.logits.shape[1]).bool().unsqueeze(1)
        own = similarity.masked_fill(~own_class, -torch.inf).amax(dim=2)
        margin = own - similarity.masked_fill(own_class, -torch.inf).amax(dim=2)
        lengths = torch.stack([log_length(outputs.features[layer - 1]) for layer in self.layers], dim=1)
        return torch.cat([own, margin, lengths], dim=1)


def log_length(vectors: Tensor) -> Tensor:
    """Return the logarithm of the lengths of vectors [N, d], [N]; it and its gradient are finite at 0."""
    return (vectors.square().sum(dim=1) + SMALLEST_LENGTH**2).log() / 2


def _shrunk(residuals: Tensor) -> Tensor:
    """Return Ledoit and Wolf's covariance of residuals [N, S] whose mean is 0."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(residuals.cpu().numpy(), assume_centered=True)
    return torch.from_numpy(covariance).to(residuals) + RIDGE * torch.eye(residuals.shape[1]).to(residuals)
