"""The interface of detectors, and what layer-wise detectors share."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.detectors.density import Density, Standard
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs

Chunks = Iterable[tuple[ModelOutputs, Tensor]]
"""Training images, some at a time, with their labels [n]: it can be iterated over more than once."""

FOLDS = 5
NEIGHBOUR = 10
"""Which nearest neighbour counts."""
REFERENCES = 5000
"""Training images, at most, among which neighbours are sought, and of which fourth moments are taken."""
RIDGE = 1e-6
"""Added to the variances of standardised channels, of which some may depend on others."""
SMALLEST_LENGTH = 1e-6
"""Added, squared, to squared lengths before their logarithm is taken: zero features have one, and a gradient."""


class DetectorInputs(NamedTuple):
    """What a rival takes from what a network shows of N images; differentiable.

    `logits` [N, C]; `statistics` [N, S], a few of each layer, however large its features are, or none.
    """

    logits: Tensor
    statistics: Tensor

    def take(self, rows: slice | Tensor) -> "DetectorInputs":
        """Return that of some of the images: by a slice, positions or a mask."""
        return DetectorInputs(self.logits[rows], self.statistics[rows])


class Detector(nn.Module):
    """A detector. Its parameters are buffers, which `fit` or `load` makes."""

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether it learns from training images."""
    layers: list[int] | None = None
    """Numbers, from 1, of the layers that it reads; None where it reads none, or all that it will be fitted to."""

    def fit(self, train: Chunks, calibration: ModelOutputs, channels: Sequence[int]) -> None:
        """Learn from training images, then from clean calibration images.

        Parameters
        ----------
        train
            Training images, in chunks; only read if the rival learns from them.
        calibration
            What the network shows of the clean calibration images, on the device that scores are to be computed on.
        channels
            Number of channels of every layer, whose features have a multiple of it, channel by channel.

        Raises
        ------
        FeaturePathsError
            If a number is not finite, images are too few, or a class has no training image.
        """
        learn([self], train, channels)
        with torch.no_grad():
            self.calibrate(self.evidence(calibration))

    def start(self, channels: Sequence[int]) -> None:
        """Make ready for training images, of a network whose layers have so many channels: see `learn`."""

    def add(self, observed: ModelOutputs, labels: Tensor) -> None:
        """Take training images of the classes `labels` [n] in."""

    def finish(self) -> None:
        """Learn from all training images taken in."""

    def calibrate(self, calibration: DetectorInputs) -> None:
        """Learn what is learned from clean calibration images; what was learned from others before is forgotten."""

    def score(self, observed: ModelOutputs) -> Tensor:
        """Return the score of each image, float64 [N], low when adversarial; differentiable.

        Raises
        ------
        FeaturePathsError
            If a score is not finite, because what the network shows is not.
        """
        return self.score_of(self.evidence(observed))

    def unchecked_score(self, observed: ModelOutputs) -> Tensor:
        """Return the score as `score` does, [N], also where it is not finite: searches pass over such images."""
        return self.score_samples(self.evidence(observed))

    def score_of(self, evidence: DetectorInputs) -> Tensor:
        """Return the score by the evidence of each image; see `score`."""
        return finite(self.score_samples(evidence), "score", self.name)

    def evidence(self, observed: ModelOutputs) -> DetectorInputs:
        """Return what the score of each image depends on, once the rival has learned from training images."""
        return DetectorInputs(observed.logits, self.statistics(observed))

    def statistics(self, observed: ModelOutputs) -> Tensor:
        """Return the statistics of the layers, [N, S], differentiable; what a rival that reads layers has to define."""
        return observed.logits.new_empty(len(observed.logits), 0)

    def score_samples(self, evidence: DetectorInputs) -> Tensor:
        """Return the score; what a rival has to define."""
        raise NotImplementedError


class LayerDetector(Detector):
    """A detector that reads layers: those given, numbered from 1, or all."""

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__()
        self.layers = None if layers is None else list(layers)
        self.channels: list[int] = []

    def start(self, channels: Sequence[int]) -> None:
        """Settle which layers are read."""
        self.channels = list(channels)
        if self.layers is None:
            self.layers = list(range(1, len(channels) + 1))
        if not self.layers or not set(self.layers) <= set(range(1, len(channels) + 1)):
            raise FeaturePathsError(
                f"{self.name}: layers {self.layers} are not among the {len(channels)} of the network."
            )

    def channel_means(self, observed: ModelOutputs, layer: int) -> Tensor:
        """Return the average of each channel of a layer, [N, channels], whatever its features are pooled to."""
        feature, channels = observed.features[layer - 1], self.channels[layer - 1]
        if feature.shape[1] % channels:
            raise FeaturePathsError(
                f"{self.name}: features of {feature.shape[1]} values in layer {layer} are not of {channels} channels."
            )
        return feature.unflatten(1, (channels, -1)).mean(dim=2)


class AveragedDetector(LayerDetector):
    """A detector with one score a layer, standardised on clean calibration images and averaged."""

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__(layers)
        self.standard = Standard()

    def calibrate(self, calibration: DetectorInputs) -> None:
        """Learn each layer's mean score and its standard deviation."""
        if len(calibration.logits) < 2:
            raise too_few(self.name, 2)
        self.standard.fit(finite(calibration.statistics, "calibration image", self.name))

    def score_samples(self, evidence: DetectorInputs) -> Tensor:
        """Return the average over layers, in standard deviations of clean images."""
        return self.standard(evidence.statistics).mean(dim=1)

    def statistics(self, observed: ModelOutputs) -> Tensor:
        """Return the score of every layer, [N, layers]."""
        return torch.stack([self.layer_score(observed, layer) for layer in self.layers], dim=1)

    def layer_score(self, observed: ModelOutputs, layer: int) -> Tensor:
        """Return the score of one layer, [N]; what a rival has to define."""
        raise NotImplementedError


class DensityDetector(LayerDetector):
    """A detector that asks how usual some statistics are among clean images of the class that the network names.

    The score is the logarithm of a `featurepaths.detectors.density.Density`.
    """

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__(layers)
        self.density = Density()

    def calibrate(self, calibration: DetectorInputs) -> None:
        """Learn the density."""
        logits = finite(calibration.logits, "calibration image", self.name)
        self.density.fit(calibration.statistics, logits.argmax(dim=1), logits.shape[1])

    def score_samples(self, evidence: DetectorInputs) -> Tensor:
        """Return the log density."""
        return self.density(evidence.statistics, evidence.logits.argmax(dim=1))


def log_length(vectors: Tensor) -> Tensor:
    """Return the logarithm of the lengths of vectors [N, d], [N], finite at 0 as its gradient is."""
    return (vectors.square().sum(dim=1) + SMALLEST_LENGTH**2).log() / 2


class EvenlySpaced:
    """At most `REFERENCES` rows of those that come chunk by chunk: every 2^j-th."""

    def __init__(self):
        self.rows: Tensor | None = None
        self.stride, self.count = 1, 0

    def add(self, rows: Tensor) -> None:
        """Keep some of these rows, and fewer of all where they have become too many."""
        kept = rows[-self.count % self.stride :: self.stride]
        self.rows = kept.clone() if self.rows is None else torch.cat([self.rows, kept])
        self.count += len(rows)
        while len(self.rows) > REFERENCES:
            self.stride *= 2
            self.rows = self.rows[::2]


class Moments:
    """Class means and the covariance within classes, gathered chunk by chunk in float64.

    Products are of differences from the first image of the class: what the classes have in common does not cancel, and
    classes whose images are equal have a covariance of exactly zero.
    """

    def __init__(self):
        self.counts = None
        self.values, self.labels = EvenlySpaced(), EvenlySpaced()

    def add(self, values: Tensor, labels: Tensor, classes: int) -> None:
        """Take values [n, d] of images of classes `labels` [n] in."""
        self.values.add(values)
        self.labels.add(labels)
        precision = torch.finfo(values.dtype).eps
        values = values.double()
        if self.counts is None:
            self.precision = precision
            self.counts = values.new_zeros(classes)
            self.firsts = values.new_zeros(classes, values.shape[1])
            self.sums = values.new_zeros(classes, values.shape[1])
            self.products = values.new_zeros(values.shape[1], values.shape[1])
        membership = F.one_hot(labels, classes).to(values)
        in_chunk = membership.sum(dim=0)
        new = (self.counts == 0) & (in_chunk > 0)
        self.firsts[new] = values[membership.argmax(dim=0)[new]]
        values = values - self.firsts[labels]
        self.counts += in_chunk
        self.sums += membership.T @ values
        self.products += values.T @ values

    def result(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return class means [C, d], scales [d] and the shrunk covariance of the m standardised channels [m, m].

        A channel's scale is its standard deviation within the classes, or else, where that is smaller than the values'
        own rounding, that rounding; 0 for channels that are zero on all images and are left out of the covariance, as
        they are by the pseudoinverse of Lee et al.

        Ledoit and Wolf (2004) shrink the covariance S of residuals z towards :math:`\mu I`, :math:`\mu = tr(S) / m`,
        by the share :math:`\beta / \delta`, :math:`\beta = \min(\delta, (E|z|^4 - |S|^2) / N)`,
        :math:`\delta = |S|^2 - m \mu^2`, as scikit-learn does. :math:`E|z|^4` is of at most `REFERENCES` evenly spaced
        images: it would take a second pass over them, as scales and means are only known at the end.
        """
        if self.counts is None or (self.counts == 0).any():
            missing = "any class" if self.counts is None else f"class {int(self.counts.argmin())}"
            raise FeaturePathsError(f"{name}: there is no training image of {missing}.")
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


def log_odds(logits: Tensor) -> Tensor:
    """Return log p/(1-p) of the network's label, float64 [N], without p, which would be rounded to 1."""
    top, label = logits.double().max(dim=1)
    others = logits.double().scatter(1, label.unsqueeze(1), -torch.inf)
    return top - others.logsumexp(dim=1)


def finite(values: Tensor, what: str, name: str) -> Tensor:
    if not torch.isfinite(values).all():
        raise FeaturePathsError(
            f"{name}: what the network shows gives a {what} that is not finite. Make its features again."
        )
    return values


def too_few(name: str, least: int) -> FeaturePathsError:
    return FeaturePathsError(
        f"{name}: it needs at least {least} clean calibration images: set data.calibration higher."
    )


def learn(rivals: Sequence[Detector], train: Chunks, channels: Sequence[int]) -> None:
    """Let rivals learn from training images, in one pass over them; without one, where none of them does.

    Parameters
    ----------
    channels
        Number of channels of every layer.

    Raises
    ------
    FeaturePathsError
        If a number is not finite, images are too few, or a class has no training image.
    """
    for rival in rivals:
        rival.start(channels)
    learners = [rival for rival in rivals if rival.learns]
    for observed, labels in train if learners else ():
        for rival in learners:
            rival.add(observed, labels)
    for rival in learners:
        rival.finish()
