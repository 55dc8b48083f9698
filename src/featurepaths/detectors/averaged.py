"""Detectors with one score per layer, standardised on clean images and averaged; with or without training images."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from featurepaths.detectors.base import DetectorInputs, LayerDetector
from featurepaths.paths.outputs import ModelOutputs

REFERENCES = 5000
"""Greatest number of training images among which neighbours are searched, and of which fourth moments are taken."""


class Standardise(nn.Module):
    """Shift and scale columns [N, S] to mean 0 and standard deviation 1, as measured on the rows of `fit`."""

    def fit(self, values: Tensor) -> None:
        """Measure mean and standard deviation of values [N, S]; a constant column is only shifted."""
        values = values.detach().double()
        std = values.std(dim=0, correction=0)
        # the rounding error of a constant column's mean is not a deviation
        varies = std > 1e-9 * values.abs().amax(dim=0)
        self.register_buffer("mean", values.mean(dim=0))
        self.register_buffer("std", torch.where(varies, std, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Return values [N, S] standardised, in float64."""
        return (values.double() - self.mean) / self.std


class AveragedDetector(LayerDetector):
    """A detector with one score per layer: the average over layers, in standard deviations of clean images."""

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__(layers)
        self.standard = Standardise()

    def calibrate(self, calibration: DetectorInputs) -> None:
        """Measure each layer's mean score and its standard deviation."""
        self.standard.fit(self.check_calibration(calibration.statistics))

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return the average of the standardised scores."""
        return self.standard(inputs.statistics).mean(dim=1)

    def statistics(self, outputs: ModelOutputs) -> Tensor:
        """Return the score of every layer, [N, layers]."""
        return torch.stack([self.layer_score(outputs, layer) for layer in self.layers], dim=1)

    def layer_score(self, outputs: ModelOutputs, layer: int) -> Tensor:
        """Return the score of one layer, [N]; every such detector defines it."""
        raise NotImplementedError


class TrainedDetector(AveragedDetector):
    """An averaged detector that is fitted to the channel means of training images, layer by layer."""

    learns = True
    accumulator: ClassVar[Callable[[], Any]]
    """Creates what collects the training images of one layer, by ``add(values, labels, classes)``."""

    def start_fit(self, channels: Sequence[int]) -> None:
        """Create an empty accumulator per layer."""
        super().start_fit(channels)
        self.accumulators = {layer: self.accumulator() for layer in self.layers}

    def partial_fit(self, outputs: ModelOutputs, labels: Tensor) -> None:
        """Add the channel means of a chunk of images to the accumulators."""
        for layer, accumulator in self.accumulators.items():
            values = self.check_finite(self.channel_means(outputs, layer).detach(), f"training image in layer {layer}")
            accumulator.add(values, labels, outputs.logits.shape[1])

    def finalize_fit(self) -> None:
        """Keep the parameters of every layer as buffers, and drop the accumulators."""
        for layer, accumulator in self.accumulators.items():
            for name, values in self.parameters_of(accumulator).items():
                self.register_buffer(f"{name}_{layer}", values)
        del self.accumulators

    def parameters_of(self, accumulator: Any) -> dict[str, Tensor]:
        """Return a layer's parameters by name; every such detector defines it."""
        raise NotImplementedError


class EvenlySpaced:
    """At most `REFERENCES` of the rows that are added chunk by chunk: every 2^j-th."""

    def __init__(self):
        self.rows: Tensor | None = None
        self.stride, self.count = 1, 0

    def add(self, rows: Tensor) -> None:
        """Add rows [n, ...], and double the stride while there are too many."""
        selected = rows[-self.count % self.stride :: self.stride]
        self.rows = selected.clone() if self.rows is None else torch.cat([self.rows, selected])
        self.count += len(rows)
        while len(self.rows) > REFERENCES:
            self.stride *= 2
            self.rows = self.rows[::2]
