"""Statistics of training images, accumulated chunk by chunk: evenly spaced rows, class means and covariances."""

import torch
from torch import Tensor
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError

REFERENCES = 5000
"""Greatest number of training images among which neighbours are searched, and of which fourth moments are taken."""


class EvenlySpaced:
    """At most `REFERENCES` of the rows that are added chunk by chunk: every 2^j-th."""

    def __init__(self):
        self.rows: Tensor | None = None
        self.stride, self.count = 1, 0

    def add(self, rows: Tensor) -> None:
        """Add rows [n, ...], and double the stride while there are too many."""
        kept = rows[-self.count % self.stride :: self.stride]
        self.rows = kept.clone() if self.rows is None else torch.cat([self.rows, kept])
        self.count += len(rows)
        while len(self.rows) > REFERENCES:
            self.stride *= 2
            self.rows = self.rows[::2]


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
        :math:`\delta = |S|^2 - m \mu^2`, as scikit-learn does. :math:`E|z|^4` is taken over at most `REFERENCES`
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
