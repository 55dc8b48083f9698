"""A network with its feature paths: class centroids, and a calibration, fitted to images or set."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NoReturn, Self

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.defense.calibration import Calibration
from featurepaths.defense.fitting import (
    Batches,
    FeatureBatches,
    Scores,
    calibration_of,
    check_batches,
    finite_arrays,
    first_false,
    fit_centroids,
    is_auto,
)
from featurepaths.defense.votes import nearest_classes
from featurepaths.detectors.s_max import SMax
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.warnings import warn_of_probabilities
from featurepaths.paths.encoder import Encoder
from featurepaths.paths.equations import s_max
from featurepaths.paths.outputs import ModelOutputs, model_outputs
from featurepaths.runtime.blocks import finite_rows

ROWS = 512
"""The number of cached features that are read at a time."""


class FittedPaths(nn.Module):
    """The part of `featurepaths.defense.module.FeaturePathDefense` that fits it and computes the model's outputs."""

    def __init__(
        self, model: nn.Module, layers: Sequence[str], pooling: str = "flatten", *, precision: str = "float32"
    ):
        super().__init__()
        self.encoder = Encoder(model, layers, pooling, precision)
        self._centroids = nn.ParameterList()
        self._detector: SMax | None = None
        self._calibration: Calibration | None = None
        self.eval()

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return self.encoder.layers

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.encoder.parameters()).device

    @property
    def centroids(self) -> list[Tensor]:
        """The class centroids of each layer [classes, d], unit vectors: the paper's eq. (1)."""
        if len(self._centroids) == 0:
            raise FeaturePathsError("This defence has no centroids yet: call fit(loader) first.")
        return list(self._centroids)

    @property
    def detector(self) -> SMax:
        """The detector: layers and weights, without the threshold."""
        if self._detector is None:
            raise FeaturePathsError("This defence has no detection layers yet: call fit(loader) first.")
        return self._detector

    @property
    def calibration(self) -> Calibration:
        """The calibration: layers, weights, threshold and vote."""
        if self._calibration is None:
            raise FeaturePathsError("This defence has no threshold and voting layers yet: call calibrate(clean) first.")
        return self._calibration

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is: in training mode images would influence one another."""
        return super().train(False)

    def fit(
        self,
        loader: Batches,
        *,
        detection_layers: str | Sequence[int] = "auto",
        weights: str | Sequence[float] = "equal",
    ) -> Self:
        """Compute class centroids from training images, batch by batch; this removes a calibration.

        Parameters
        ----------
        loader
            Images [n, C, H, W] in [0, 1] and labels [n], from 0, batch by batch. Images with negative labels, which
            mark other data in pytorch-ood, are left out.
        detection_layers
            The layers, from 1, that are scored. ``auto``: those before collapse (PFC3 below
            `featurepaths.defense.fitting.COLLAPSED`), for which the loader is read a second time.
        weights
            The weight of each of them, with sum 1, or ``equal``.

        Raises
        ------
        FeaturePathsError
            If a class has no image, features are not finite, images lie outside of [0, 1], or the loader can be read
            only once and has to be read twice.
        """
        if is_auto(detection_layers) and isinstance(loader, Iterator):
            raise FeaturePathsError(
                "detection_layers: auto reads the loader twice, but this one is an iterator. Pass one that restarts, "
                "such as a DataLoader, or set detection_layers to numbers."
            )

        def batches() -> Iterator[tuple[int, list[Tensor], np.ndarray]]:
            for images, labels in check_batches(loader, self.device):
                with torch.no_grad():
                    logits, features = self.encoder.features(images)
                warn_of_probabilities(logits)
                yield logits.shape[1], features, labels

        earlier = self.encoder.fingerprint
        self.encoder.remember()
        try:
            return self._fit(batches, detection_layers, weights)
        except BaseException:
            self.encoder.fingerprint = earlier  # as the centroids are
            raise

    def fit_features(
        self,
        features: Tensor | Sequence[Tensor],
        labels: Tensor,
        *,
        detection_layers: str | Sequence[int] = "auto",
        weights: str | Sequence[float] = "equal",
    ) -> Self:
        """Compute class centroids from cached features, as `fit` does from images.

        Parameters
        ----------
        features
            One tensor [N, d] per layer; or the output of `encoder`, all layers side by side in one tensor [N, D].
        labels
            Classes [N]: every number from 0 to the greatest occurs. Rows with negative labels are left out.
        """
        parts, labelled = self.encoder.split(features), labels >= 0
        if not labelled.any():
            raise FeaturePathsError("There are no features to fit to.")
        classes = int(labels.max()) + 1
        chunks = labelled.nonzero().squeeze(1).split(ROWS)

        def batches() -> Iterator[tuple[int, list[Tensor], np.ndarray]]:
            for rows in chunks:
                yield classes, [part[rows].float() for part in parts], labels[rows].cpu().numpy()

        self._fit(batches, detection_layers, weights)
        self.encoder.remember()
        return self

    def calibrate(
        self,
        clean: Batches,
        adversarial: Batches | None = None,
        fpr: float | Fraction = 0.05,
        *,
        voting_layers: str | Sequence[int] = "auto",
        voting_weights: str | Sequence[float] = "equal",
        tie_break: str = "last-layer",
    ) -> Self:
        """Set the threshold and the voting layers by images that were not used by `fit`.

        Parameters
        ----------
        clean
            Clean images and their labels, batch by batch.
        adversarial
            Adversarial examples with the true labels. If given, the threshold is Otsu's, on the scores of both.
        fpr
            Share of the clean images that the threshold may flag, if there are no adversarial examples.
        voting_layers
            The layers, from 1 and ascending, that vote. ``auto``: the `featurepaths.defense.fitting.VOTERS` layers
            whose nearest centroid is most accurate on the adversarial examples; without them the paper's, 2, 3 and 4,
            as far as they exist.
        voting_weights
            The weight of each of them, with sum 1, or ``equal``.
        tie_break
            The rule for tied votes: see `featurepaths.defense.votes.vote`.

        Raises
        ------
        FeaturePathsError
            If the defence is not fitted, there are no images, or a feature is not finite.
        """
        self._calibration = calibration_of(
            self._detection(),
            lambda: self._scores(clean, "clean"),
            None if adversarial is None else lambda: self._scores(adversarial, "adversarial"),
            fpr,
            len(self.layers),
            voting_layers,
            voting_weights,
            tie_break,
        )
        return self

    def freeze(self, centroids: Sequence[Tensor], calibration: Calibration) -> Self:
        """Set centroids and calibration, instead of `fit` and `calibrate`.

        Parameters
        ----------
        centroids
            The class centroids of each layer [classes, d], unit vectors.
        """
        self._set(centroids, calibration.layers, calibration.weights)
        self.encoder.remember()
        self._calibration = calibration
        return self

    def model_outputs(self, images: Tensor) -> ModelOutputs:
        """Return the model's outputs for images [N, C, H, W] in [0, 1]; differentiable.

        Raises
        ------
        FeaturePathsError
            If the defence is not fitted, to other features than these, or to a network that has changed since, or if
            an image, a feature or a logit is not finite.
        """
        outputs, finite = self.outputs_and_finite(images)
        if not finite.all():
            self._refuse(images, outputs, finite)
        return outputs

    def outputs_and_finite(self, images: Tensor) -> tuple[ModelOutputs, Tensor]:
        """Return `model_outputs` without refusing images, and for which of them all of it is finite, bool [N]."""
        centroids = self.centroids
        images = images.to(self.device)
        outputs = self._compare(*self.encoder.features(images), centroids)
        parts = (images, outputs.logits, outputs.similarity)
        return outputs, torch.stack([finite_rows(part) for part in parts]).all(dim=0)

    def paths(self, images: Tensor) -> Tensor:
        """Return the feature paths of images: similarities to each layer's centroids, [N, L, C]; differentiable."""
        return self.model_outputs(images).similarity

    def _fit(
        self, batches: FeatureBatches, detection_layers: str | Sequence[int], weights: str | Sequence[float]
    ) -> Self:
        centroids, layers, layer_weights = fit_centroids(batches, self.layers, detection_layers, weights)
        self._set([torch.from_numpy(each).to(self.device) for each in centroids], layers, layer_weights)
        return self

    def _set(self, centroids: Sequence[Tensor], layers: Sequence[int], weights: np.ndarray) -> None:
        """Set centroids, detection layers and weights, and remove the calibration."""
        if len(centroids) != len(self.layers):
            raise FeaturePathsError(f"There are centroids of {len(centroids)} layers, not of {len(self.layers)}.")
        self._centroids = nn.ParameterList([nn.Parameter(each, requires_grad=False) for each in centroids])
        self._detector = SMax(layers, weights.tolist()).to(centroids[0].device)
        self._calibration = None
        self.encoder.widths = [each.shape[1] for each in centroids]

    def _detection(self) -> tuple[list[int], np.ndarray]:
        """Return the detection layers and their weights."""
        return list(self.detector.layers or ()), self.detector.get_buffer("weights").cpu().numpy().copy()

    @torch.no_grad()
    def _scores(self, loader: Batches, description: str) -> Scores:
        """Return S_max [N], every layer's vote [N, L] and the labels [N] of a loader's images."""
        layers, weights = self._detection()
        batches = []
        for images, labels in check_batches(loader, self.device):
            similarity = self.paths(images).cpu().numpy()
            batches.append((s_max(similarity, layers, weights), nearest_classes(similarity), labels))
        if not batches:
            raise FeaturePathsError(f"The loader of {description} images has no image to calibrate by.")
        scores, votes, labels = (np.concatenate(values) for values in zip(*batches, strict=True))
        return scores, votes, labels

    def _compare(self, logits: Tensor, features: list[Tensor], centroids: Sequence[Tensor]) -> ModelOutputs:
        """Return model outputs with the feature paths; refuse features of other widths than the centroids'."""
        for name, feature, layer_centroids in zip(self.layers, features, centroids, strict=True):
            if feature.shape[1] != layer_centroids.shape[1]:
                raise FeaturePathsError(
                    f"Layer {name} has {feature.shape[1]} values, but its centroids have {layer_centroids.shape[1]}, "
                    "from other images or another model. Fit again."
                )
        return model_outputs(logits, features, centroids)

    def _refuse(self, images: Tensor, outputs: ModelOutputs, finite: Tensor) -> NoReturn:
        """Raise FeaturePathsError with the first image that is not finite and what of it is not."""
        row = first_false(finite)
        if not images[row].isfinite().all():
            raise FeaturePathsError(f"Image {row} of the batch, from 0, has a value that is not finite.")
        finite_arrays(self.layers, outputs.features)
        if outputs.logits[row].isfinite().all():
            raise FeaturePathsError(f"The features of image {row} of the batch, from 0, are too large for float32.")
        raise FeaturePathsError(f"The model's logits are not finite for image {row} of the batch, from 0.")
