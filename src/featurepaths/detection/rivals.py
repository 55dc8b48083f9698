"""Detectors that feature paths have to stand beside, each a differentiable score of what the network shows.

Sources and formulas stand with each class. What is learned from training images is learned once; what is learned from
clean calibration images can be learned anew without some of them (`cross_fitted_scores`), because a threshold on scores
of images that the detector has seen is too high. No rival ever sees an adversarial example.

Features are large. So training images come in chunks, and of calibration images a rival keeps its `Evidence` alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.detection.density import Density, Standard
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.observed import Observed, unit

Chunks = Iterable[tuple[Observed, Tensor]]
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


class Evidence(NamedTuple):
    """What a rival takes from what a network shows of N images; differentiable.

    `logits` [N, C]; `statistics` [N, S], a few of each layer, however large its features are, or none.
    """

    logits: Tensor
    statistics: Tensor

    def take(self, rows: slice | Tensor) -> "Evidence":
        """Return that of some of the images: by a slice, positions or a mask."""
        return Evidence(self.logits[rows], self.statistics[rows])


class Rival(nn.Module):
    """A detector. Its parameters are buffers, which `fit` or `load` makes."""

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether it learns from training images."""
    layers: list[int] | None = None
    """Numbers, from 1, of the layers that it reads; None where it reads none, or all that it will be fitted to."""

    def fit(self, train: Chunks, calibration: Observed, channels: Sequence[int]) -> None:
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

    def add(self, observed: Observed, labels: Tensor) -> None:
        """Take training images of the classes `labels` [n] in."""

    def finish(self) -> None:
        """Learn from all training images taken in."""

    def calibrate(self, calibration: Evidence) -> None:
        """Learn what is learned from clean calibration images; what was learned from others before is forgotten."""

    def score(self, observed: Observed) -> Tensor:
        """Return the score of each image, float64 [N], low when adversarial; differentiable.

        Raises
        ------
        FeaturePathsError
            If a score is not finite, because what the network shows is not.
        """
        return self.score_of(self.evidence(observed))

    def unchecked_score(self, observed: Observed) -> Tensor:
        """Return the score as `score` does, [N], also where it is not finite: searches pass over such images."""
        return self.raw_score(self.evidence(observed))

    def score_of(self, evidence: Evidence) -> Tensor:
        """Return the score by the evidence of each image; see `score`."""
        return _finite(self.raw_score(evidence), "score", self.name)

    def evidence(self, observed: Observed) -> Evidence:
        """Return what the score of each image depends on, once the rival has learned from training images."""
        return Evidence(observed.logits, self.statistics(observed))

    def statistics(self, observed: Observed) -> Tensor:
        """Return the statistics of the layers, [N, S], differentiable; what a rival that reads layers has to define."""
        return observed.logits.new_empty(len(observed.logits), 0)

    def raw_score(self, evidence: Evidence) -> Tensor:
        """Return the score; what a rival has to define."""
        raise NotImplementedError


class Confidence(Rival):
    r"""The greatest softmax probability, :math:`\max_c p_c` (Hendrycks and Gimpel, ICLR 2017).

    In float64: in float32 it is exactly 1, and its gradient 0, from a log-odds of about 17 on.
    """

    name = "confidence"

    def raw_score(self, evidence: Evidence) -> Tensor:
        """Return the greatest probability, in [1/C, 1]."""
        return evidence.logits.double().softmax(dim=1).amax(dim=1)


class Energy(Rival):
    r"""The negative free energy :math:`\log \sum_c \exp z_c` of the logits z (Liu et al., NeurIPS 2020)."""

    name = "energy"

    def raw_score(self, evidence: Evidence) -> Tensor:
        """Return the logarithm of the sum."""
        return evidence.logits.double().logsumexp(dim=1)


class TwoSidedConfidence(Rival):
    r"""Confidence that is unusual on either side: :math:`\min(F(u), 1 - F(u))`.

    u is the log-odds of the network's label, :math:`\log p/(1-p)`, and F its distribution over clean calibration
    images: the empirical distribution, i/(n+1) at the i-th of n values, linear in between. One standard deviation
    beyond the extremes F reaches 0 and 1, and goes on as steeply, so that an attacker has a gradient everywhere.

    No publication: examples of greatest loss are more confident than clean images, which plain confidence cannot tell.
    """

    name = "two-sided-confidence"

    def calibrate(self, calibration: Evidence) -> None:
        """Learn F."""
        values = _finite(_log_odds(calibration.logits.detach()), "calibration image", self.name)
        if len(values) < 2:
            raise _too_few(self.name, 2)
        ordered, counts = values.unique(return_counts=True)  # equal values get their middle rank
        heights = (counts.cumsum(0) - (counts.double() - 1) / 2) / (len(values) + 1)
        deviation = values.std()
        reach = torch.where(deviation > 0, deviation, 1)
        zero, one = heights.new_tensor([0.0]), heights.new_tensor([1.0])
        self.register_buffer("positions", torch.cat([ordered[:1] - reach, ordered, ordered[-1:] + reach]))
        self.register_buffer("heights", torch.cat([zero, heights, one]))

    def raw_score(self, evidence: Evidence) -> Tensor:
        """Return the smaller tail, at most 1/2; negative far outside of what was seen."""
        values = _log_odds(evidence.logits)
        after = torch.searchsorted(self.positions, values.detach()).clamp(1, len(self.positions) - 1)
        left, right = self.positions[after - 1], self.positions[after]
        low, high = self.heights[after - 1], self.heights[after]
        tail = low + (high - low) * (values - left) / (right - left)
        return torch.minimum(tail, 1 - tail)


class LayerRival(Rival):
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

    def channel_means(self, observed: Observed, layer: int) -> Tensor:
        """Return the average of each channel of a layer, [N, channels], whatever its features are pooled to."""
        feature, channels = observed.features[layer - 1], self.channels[layer - 1]
        if feature.shape[1] % channels:
            raise FeaturePathsError(
                f"{self.name}: features of {feature.shape[1]} values in layer {layer} are not of {channels} channels."
            )
        return feature.unflatten(1, (channels, -1)).mean(dim=2)


class AveragedRival(LayerRival):
    """A detector with one score a layer, standardised on clean calibration images and averaged."""

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__(layers)
        self.standard = Standard()

    def calibrate(self, calibration: Evidence) -> None:
        """Learn each layer's mean score and its standard deviation."""
        if len(calibration.logits) < 2:
            raise _too_few(self.name, 2)
        self.standard.fit(_finite(calibration.statistics, "calibration image", self.name))

    def raw_score(self, evidence: Evidence) -> Tensor:
        """Return the average over layers, in standard deviations of clean images."""
        return self.standard(evidence.statistics).mean(dim=1)

    def statistics(self, observed: Observed) -> Tensor:
        """Return the score of every layer, [N, layers]."""
        return torch.stack([self.layer_score(observed, layer) for layer in self.layers], dim=1)

    def layer_score(self, observed: Observed, layer: int) -> Tensor:
        """Return the score of one layer, [N]; what a rival has to define."""
        raise NotImplementedError


class Mahalanobis(AveragedRival):
    r"""Minus the squared distance to the nearest class, :math:`-\min_c (z - m_c)^T \Sigma^{-1} (z - m_c)`, by layer.

    z are the averages of a layer's channels, each divided by its standard deviation within the classes, :math:`m_c` the
    class means and :math:`\Sigma` the one covariance within the classes, of the training images, shrunk towards the
    identity (see `_Moments.result`). Sources: Lee et al., NeurIPS 2018, for the distance; Ledoit and Wolf, 2004, for
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
        self.moments = {layer: _Moments() for layer in self.layers}

    def add(self, observed: Observed, labels: Tensor) -> None:
        """Add to the moments of each class, in float64."""
        classes = observed.logits.shape[1]
        for layer, found in self.moments.items():
            values = self.channel_means(observed, layer).detach()
            found.add(_finite(values, f"training image in layer {layer}", self.name), labels, classes)

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

    def layer_score(self, observed: Observed, layer: int) -> Tensor:
        """Return minus the squared distance to the nearest class."""
        centres = self.get_buffer(f"centres_{layer}")
        values = self.channel_means(observed, layer).double() - self.get_buffer(f"origin_{layer}")
        white = values @ self.get_buffer(f"whitening_{layer}").T
        # |a - b|^2 in parts, as N x C x d would be large, finds the nearest; cancellation would leave too little of it
        nearest = (centres.square().sum(1) - 2 * white.detach() @ centres.T).argmin(dim=1)
        return -(white - centres[nearest]).square().sum(dim=1)


class NearestNeighbours(AveragedRival):
    """The cosine similarity to the k-th nearest training image, by layer; k is `NEIGHBOUR`.

    Of the averages of each layer's channels, among at most `REFERENCES` evenly spaced training images: every 2^j-th.
    Sources: Sun et al., ICML 2022, who take the last layer and the distance, which falls as the similarity rises; all
    layers as Papernot and McDaniel, 2018, who count the labels of the neighbours instead.
    """

    name = "nearest-neighbours"
    learns = True

    def start(self, channels: Sequence[int]) -> None:
        """Start with no image."""
        super().start(channels)
        self.kept = {layer: _EvenlySpaced() for layer in self.layers}

    def add(self, observed: Observed, labels: Tensor) -> None:
        """Keep some of the images, and fewer of all where they have become too many."""
        for layer, kept in self.kept.items():
            values = self.channel_means(observed, layer).detach()
            kept.add(unit(_finite(values, f"training image in layer {layer}", self.name)))

    def finish(self) -> None:
        """Settle the training images that neighbours are sought among."""
        for layer, kept in self.kept.items():
            if kept.rows is None or len(kept.rows) < NEIGHBOUR:
                raise FeaturePathsError(f"{self.name}: there are fewer than {NEIGHBOUR} training images.")
            self.register_buffer(f"references_{layer}", kept.rows.clone())
        del self.kept

    def layer_score(self, observed: Observed, layer: int) -> Tensor:
        """Return the similarity to the k-th nearest neighbour."""
        similarity = unit(self.channel_means(observed, layer)) @ self.get_buffer(f"references_{layer}").T
        return similarity.topk(NEIGHBOUR, dim=1).values[:, -1]


class DensityRival(LayerRival):
    """A detector that asks how usual some statistics are among clean images of the class that the network names.

    The score is the logarithm of a `featurepaths.detection.density.Density`.
    """

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__(layers)
        self.density = Density()

    def calibrate(self, calibration: Evidence) -> None:
        """Learn the density."""
        logits = _finite(calibration.logits, "calibration image", self.name)
        self.density.fit(calibration.statistics, logits.argmax(dim=1), logits.shape[1])

    def raw_score(self, evidence: Evidence) -> Tensor:
        """Return the log density."""
        return self.density(evidence.statistics, evidence.logits.argmax(dim=1))


class Transport(DensityRival):
    r"""How far, and in which direction, residual blocks move an image.

    For consecutive layers of equal size the step :math:`r = h^{l+1} - h^l` gives two statistics, :math:`\log|r|` and
    :math:`\cos(r, h^l)`. Source: Karkar, Gallinari and Rakotomamonjy, Adversarial sample detection through neural
    network transport dynamics, 2023 (the paper's reference 10). What differs: they train a random forest on labelled
    adversarial examples, here a Gaussian of clean images stands in its place; and layers are tapped after the
    activation here, so that a step is not the residual that a block adds before it.
    """

    name = "transport"

    def statistics(self, observed: Observed) -> Tensor:
        """Return logarithms of lengths, then cosines: [N, 2 steps]."""
        lengths, cosines = [], []
        for layer in self._steps(observed):
            before, after = observed.features[layer - 1], observed.features[layer]
            step = after - before
            lengths.append(log_length(step))
            cosines.append((unit(step) * unit(before)).sum(dim=1))
        return torch.stack(lengths + cosines, dim=1)

    def _steps(self, observed: Observed) -> list[int]:
        """Return the layers that a step to one of as many channels and values starts from."""
        sizes = [(number, feature.shape[1]) for number, feature in zip(self.channels, observed.features, strict=True)]
        steps = [n for n in self.layers if n + 1 in self.layers and sizes[n - 1] == sizes[n]]
        if not steps:
            raise FeaturePathsError(f"{self.name}: no two consecutive layers of {self.layers} have the same size.")
        return steps


class PathDensity(DensityRival):
    """The stronger reading of feature paths: the whole path at once, against those of clean images of the same class.

    For every layer the similarity to the centroid of the class that the network names, what it exceeds the best other
    class by, and the logarithm of the feature's length. Where S_max asks whether an image is near any class on average,
    this asks whether its path is one that images of this class take, too near counting as much as too far.
    """

    name = "path-density"

    def statistics(self, observed: Observed) -> Tensor:
        """Return own similarities, margins and logarithms of lengths: [N, 3 layers]."""
        chosen = observed.similarity[:, torch.tensor(self.layers) - 1]
        own_class = F.one_hot(observed.logits.argmax(dim=1), observed.logits.shape[1]).bool().unsqueeze(1)
        own = chosen.masked_fill(~own_class, -torch.inf).amax(dim=2)
        margin = own - chosen.masked_fill(own_class, -torch.inf).amax(dim=2)
        lengths = torch.stack([log_length(observed.features[layer - 1]) for layer in self.layers], dim=1)
        return torch.cat([own, margin, lengths], dim=1)


class SMax(LayerRival):
    """The paper's own detector, eq. (5), to stand beside its rivals: there is nothing left for it to learn."""

    name = "feature-paths"

    def __init__(self, layers: Sequence[int] | None = None, weights: Sequence[float] = ()):
        super().__init__(layers)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float64))

    def statistics(self, observed: Observed) -> Tensor:
        """Return the greatest weighted similarity to a class, over the layers, [N, 1]."""
        chosen = observed.similarity[:, torch.tensor(self.layers) - 1].double()
        return torch.einsum("nlc,l->nc", chosen, self.weights).amax(dim=1, keepdim=True)

    def raw_score(self, evidence: Evidence) -> Tensor:
        """Return that similarity."""
        return evidence.statistics.squeeze(1)


RIVALS: dict[str, Callable[..., Rival]] = {
    rival.name: rival
    for rival in (Confidence, Energy, TwoSidedConfidence, Mahalanobis, NearestNeighbours, Transport, PathDensity)
}
"""Detectors by name; those that read layers take which, ``layers=[1, 2]``."""


def learn(rivals: Sequence[Rival], train: Chunks, channels: Sequence[int]) -> None:
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


def save(rival: Rival) -> dict[str, np.ndarray]:
    """Return all that a fitted rival has learned, as arrays by name."""
    arrays = {name: values.detach().cpu().numpy() for name, values in rival.state_dict().items()}
    if isinstance(rival, LayerRival):
        arrays |= {"layers": np.array(rival.layers), "channels": np.array(rival.channels)}
    return arrays


def load(name: str, arrays: Mapping[str, np.ndarray]) -> Rival:
    """Return the rival `name` that `save` gave these arrays of, on the CPU.

    Raises
    ------
    FeaturePathsError
        If there is no such rival.
    """
    kinds = {SMax.name: SMax, **RIVALS}
    if name not in kinds:
        raise FeaturePathsError(f"There is no detector {name!r}; there are {', '.join(kinds)}.")
    rival = kinds[name]()
    for path, values in arrays.items():
        if path in ("layers", "channels"):
            setattr(rival, path, [int(number) for number in values])
            continue
        module, _, buffer = path.rpartition(".")
        rival.get_submodule(module).register_buffer(buffer, torch.from_numpy(np.array(values)))
    return rival


def read_rival(group: h5py.Group) -> Rival:
    """Return a calibrated detector from its group of the detectors' artefact: ``kind`` and what it has ``learned``."""
    return load(group.attrs["kind"], {name: values[:] for name, values in group["learned"].items()})


def cross_fitted_scores(rival: Rival, calibration: Evidence, labels: Tensor, folds: int = FOLDS) -> Tensor:
    """Return scores of calibration images by a rival that has not seen them, float64 [N].

    Images are ordered by their `labels` [N], those of a class as they come, and dealt out to the folds in turn. Each
    fold is scored by the rival calibrated on the others: it has to be calibrated again afterwards.

    Parameters
    ----------
    rival
        One that has learned from the training images.

    Raises
    ------
    FeaturePathsError
        If there are fewer images than folds.
    """
    count = len(labels)
    if count < folds:
        raise FeaturePathsError(f"{count} calibration images cannot be cut into {folds}: set data.calibration higher.")
    fold = torch.empty_like(labels)
    fold[labels.argsort(stable=True)] = torch.arange(count).to(labels) % folds
    scores = torch.empty(count, dtype=torch.float64, device=calibration.logits.device)
    with torch.no_grad():
        for number in range(folds):
            rival.calibrate(calibration.take(fold != number))
            scores[fold == number] = rival.score_of(calibration.take(fold == number))
    return scores


def log_length(vectors: Tensor) -> Tensor:
    """Return the logarithm of the lengths of vectors [N, d], [N], finite at 0 as its gradient is."""
    return (vectors.square().sum(dim=1) + SMALLEST_LENGTH**2).log() / 2


class _EvenlySpaced:
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


class _Moments:
    """Class means and the covariance within classes, gathered chunk by chunk in float64.

    Products are of differences from the first image of the class: what the classes have in common does not cancel, and
    classes whose images are equal have a covariance of exactly zero.
    """

    def __init__(self):
        self.counts = None
        self.values, self.labels = _EvenlySpaced(), _EvenlySpaced()

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


def _log_odds(logits: Tensor) -> Tensor:
    """Return log p/(1-p) of the network's label, float64 [N], without p, which would be rounded to 1."""
    top, label = logits.double().max(dim=1)
    others = logits.double().scatter(1, label.unsqueeze(1), -torch.inf)
    return top - others.logsumexp(dim=1)


def _finite(values: Tensor, what: str, name: str) -> Tensor:
    if not torch.isfinite(values).all():
        raise FeaturePathsError(
            f"{name}: what the network shows gives a {what} that is not finite. Make its features again."
        )
    return values


def _too_few(name: str, least: int) -> FeaturePathsError:
    return FeaturePathsError(
        f"{name}: it needs at least {least} clean calibration images: set data.calibration higher."
    )
