"""Detectors on logits: maximum softmax probability, energy, and two-sided confidence."""

import torch
from torch import Tensor

from featurepaths.detectors.base import Detector, DetectorInputs


class Confidence(Detector):
    r"""The greatest softmax probability, :math:`\max_c p_c` (Hendrycks and Gimpel, ICLR 2017), in [1/C, 1].

    In float64: in float32 it is exactly 1, and its gradient 0, from a log-odds of about 17 on.
    """

    name = "confidence"

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return the greatest probability."""
        return inputs.logits.double().softmax(dim=1).amax(dim=1)


class Energy(Detector):
    r"""The negative free energy :math:`\log \sum_c \exp z_c` of the logits z (Liu et al., NeurIPS 2020)."""

    name = "energy"

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return the logarithm of the sum."""
        return inputs.logits.double().logsumexp(dim=1)


class TwoSidedConfidence(Detector):
    r"""Confidence that is unusual on either side: :math:`\min(F(u), 1 - F(u))`.

    u is the log-odds of the network's prediction, :math:`\log p/(1-p)`, and F its distribution over clean calibration
    images: the empirical distribution, i/(n+1) at the i-th of n values, linear in between. One standard deviation
    beyond the extremes F reaches 0 and 1, and continues with the same slope, so that it has a gradient everywhere.

    No publication: examples of greatest loss are more confident than clean images, which confidence alone cannot
    detect.
    """

    name = "two-sided-confidence"

    def calibrate(self, calibration: DetectorInputs) -> None:
        """Measure F."""
        values = self.check_calibration(log_odds(calibration.logits.detach()))
        ordered, counts = values.unique(return_counts=True)  # equal values have their middle rank
        heights = (counts.cumsum(0) - (counts.double() - 1) / 2) / (len(values) + 1)
        deviation = values.std()
        reach = torch.where(deviation > 0, deviation, 1)
        zero, one = heights.new_tensor([0.0]), heights.new_tensor([1.0])
        self.register_buffer("positions", torch.cat([ordered[:1] - reach, ordered, ordered[-1:] + reach]))
        self.register_buffer("heights", torch.cat([zero, heights, one]))

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return the smaller tail, at most 1/2; negative far outside the calibration images' values."""
        values = log_odds(inputs.logits)
        after = torch.searchsorted(self.positions, values.detach()).clamp(1, len(self.positions) - 1)
        left, right = self.positions[after - 1], self.positions[after]
        low, high = self.heights[after - 1], self.heights[after]
        tail = low + (high - low) * (values - left) / (right - left)
        return torch.minimum(tail, 1 - tail)


def log_odds(logits: Tensor) -> Tensor:
    """Return log p/(1-p) of the network's prediction, float64 [N], without p, which would be rounded to 1."""
    top, prediction = logits.double().max(dim=1)
    others = logits.double().scatter(1, prediction.unsqueeze(1), -torch.inf)
    return top - others.logsumexp(dim=1)
