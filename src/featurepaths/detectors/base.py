"""The interface of detectors: inputs from a model's outputs, fitting, and scores of images."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs

Chunks = Iterable[tuple[ModelOutputs, Tensor]]
"""Model outputs of training images, chunk by chunk, with labels [n]; it can be iterated over more than once."""


class DetectorInputs(NamedTuple):
    """The part of a model's outputs for N images that a detector's score depends on; differentiable.

    `logits` [N, C]; `statistics` [N, S], a few numbers per layer whatever the size of its features, or none.
    """

    logits: Tensor
    statistics: Tensor

    def take(self, rows: slice | Tensor) -> "DetectorInputs":
        """Return the inputs of some images, selected by a slice, positions or a mask."""
        return DetectorInputs(self.logits[rows], self.statistics[rows])


class Detector(nn.Module):
    """A differentiable score of images, low for adversarial ones. Its parameters are buffers, set by `fit` or `load`.

    Called as a function, it returns the score [N] of `ModelOutputs` even where the score is not finite.
    """

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether the detector is fitted to training images."""
    layers: list[int] | None = None
    """Numbers, from 1, of the layers that are read; None: no layer, or all layers of the network it will be fitted to.
    """

    def fit(self, train: Chunks, calibration: ModelOutputs, channels: Sequence[int]) -> None:
        """Fit the detector to training images, then to clean calibration images.

        Parameters
        ----------
        train
            Training images in chunks; read only if the detector `learns`.
        calibration
            Model outputs of the clean calibration images, on the device that scores are computed on.
        channels
            Number of channels of every layer; the width of a layer's features is a multiple of it.

        Raises
        ------
        FeaturePathsError
            If a number is not finite, there are too few images, or a class has no training image.
        """
        fit_detectors([self], train, channels)
        with torch.no_grad():
            self.calibrate(self.inputs(calibration))

    def start_fit(self, channels: Sequence[int]) -> None:
        """Prepare to be fitted to a network whose layers have these numbers of channels."""

    def partial_fit(self, outputs: ModelOutputs, labels: Tensor) -> None:
        """Add a chunk of training images of the classes `labels` [n]."""

    def finalize_fit(self) -> None:
        """Compute the parameters from all training images added."""

    def calibrate(self, calibration: DetectorInputs) -> None:
        """Fit the parameters that depend on clean calibration images; earlier calibrations have no influence."""

    def inputs(self, outputs: ModelOutputs) -> DetectorInputs:
        """Return the inputs of the score, once the detector is fitted to training images."""
        return DetectorInputs(outputs.logits, self.statistics(outputs))

    def statistics(self, outputs: ModelOutputs) -> Tensor:
        """Return the statistics of the layers, [N, S], differentiable; detectors that read layers define it."""
        return outputs.logits.new_empty(len(outputs.logits), 0)

    def score_samples(self, inputs: DetectorInputs) -> Tensor:
        """Return the score [N], which may not be finite; every detector defines it."""
        raise NotImplementedError

    def forward(self, outputs: ModelOutputs) -> Tensor:
        """Return the score [N], which may not be finite: searches for examples skip such images."""
        return self.score_samples(self.inputs(outputs))

    def score(self, outputs: ModelOutputs) -> Tensor:
        """Return the score of each image, float64 [N], low when adversarial; differentiable.

        Raises
        ------
        FeaturePathsError
            If a score is not finite, because the model's outputs are not.
        """
        return self.check_finite(self(outputs), "score")

    def check_finite(self, values: Tensor, description: str) -> Tensor:
        """Return `values` if all are finite; raise FeaturePathsError with this detector's name otherwise."""
        if not torch.isfinite(values).all():
            raise FeaturePathsError(
                f"{self.name}: the {description} contains NaN or infinity. Regenerate the network's features."
            )
        return values

    def check_calibration(self, values: Tensor) -> Tensor:
        """Return statistics of calibration images [N, ...] if all are finite, and of two images or more."""
        if len(values) < 2:
            raise FeaturePathsError(
                f"{self.name}: at least 2 clean calibration images are needed: set data.calibration higher."
            )
        return self.check_finite(values, "calibration image")


class LayerDetector(Detector):
    """A detector that reads layers: selected ones, numbered from 1, or all."""

    def __init__(self, layers: Sequence[int] | None = None):
        super().__init__()
        self.layers = None if layers is None else list(layers)
        self.channels: list[int] = []

    def start_fit(self, channels: Sequence[int]) -> None:
        """Determine which layers are read."""
        self.channels = list(channels)
        if self.layers is None:
            self.layers = list(range(1, len(channels) + 1))
        if not self.layers or not set(self.layers) <= set(range(1, len(channels) + 1)):
            raise FeaturePathsError(
                f"{self.name}: layers {self.layers} are not among the {len(channels)} of the network."
            )

    def channel_means(self, outputs: ModelOutputs, layer: int) -> Tensor:
        """Return the average of each channel of a layer, [N, channels], for either pooling."""
        feature, channels = outputs.features[layer - 1], self.channels[layer - 1]
        if feature.shape[1] % channels:
            raise FeaturePathsError(
                f"{self.name}: features of {feature.shape[1]} values in layer {layer} do not have {channels} channels."
            )
        return feature.unflatten(1, (channels, -1)).mean(dim=2)


def fit_detectors(detectors: Sequence[Detector], train: Chunks, channels: Sequence[int]) -> None:
    """Fit detectors to training images in one pass over them, or in none if no detector `learns`.

    Parameters
    ----------
    channels
        Number of channels of every layer.

    Raises
    ------
    FeaturePathsError
        If a number is not finite, there are too few images, or a class has no training image.
    """
    for detector in detectors:
        detector.start_fit(channels)
    learners = [detector for detector in detectors if detector.learns]
    for outputs, labels in train if learners else ():
        for detector in learners:
            detector.partial_fit(outputs, labels)
    for detector in learners:
        detector.finalize_fit()
