"""A defence that learns: centroids from training images, threshold and voting layers from calibration images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Self

import numpy as np
import torch
from torch import Tensor

from featurepaths.defense import checks, recognition
from featurepaths.defense.checks import Batches, Layers, Weights
from featurepaths.defense.frozen import FrozenDefense
from featurepaths.detectors.thresholds import calibrate, rate_name
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.warnings import warn_of_probabilities
from featurepaths.paths.chunks import Accumulator, ClassSums
from featurepaths.paths.collapse import CollapseMeter, layers_before_collapse
from featurepaths.paths.equations import centroids_of, s_max

ROWS = 512
"""The number of cached features that are read at a time."""
COLLAPSED = 0.99
"""Training PFC3 from which a layer counts as collapsed, if detection layers are ``auto``."""
VOTERS = 3
"""The number of voting layers, if they are ``auto``."""
FeatureBatches = Callable[[], Iterable[tuple[int, list[Tensor], np.ndarray]]]
"""Starts a pass over training images: number of classes, features by layer [n, d], and labels [n], batch by batch."""


class FittableDefense(FrozenDefense):
    """The part of `featurepaths.library.defense.FeaturePathDefense` that is fitted to images and calibrated."""

    def fit(self, loader: Batches, *, detection_layers: Layers = "auto", weights: Weights = "equal") -> Self:
        """Compute class centroids from training images, batch by batch; this removes a calibration.

        Parameters
        ----------
        loader
            Images [n, C, H, W] in [0, 1] and labels [n], from 0, batch by batch. Images with negative labels, which
            mark other data in pytorch-ood, are left out.
        detection_layers
            The layers, from 1, that are scored. ``auto``: those before collapse (PFC3 below
            `COLLAPSED`), for which the loader is read a second time.
        weights
            The weight of each of them, with sum 1, or ``equal``.

        Raises
        ------
        FeaturePathsError
            If a class has no image, features are not finite, images lie outside of [0, 1], or the loader can be read
            only once and has to be read twice.
        """

        def batches() -> Iterator[tuple[int, list[Tensor], np.ndarray]]:
            for images, labels in checks.check_batches(loader, self.device):
                with torch.inference_mode(False), torch.no_grad():  # which sees layers that are changed in place
                    logits, features = self.encoder.features(images)
                warn_of_probabilities(logits)
                yield logits.shape[1], features, labels

        if (
            isinstance(loader, Iterator)
            and checks.check_layers(detection_layers, "detection_layers", len(self.layers)) is None
        ):
            raise FeaturePathsError(
                "detection_layers: auto reads the loader twice, but this one is an iterator. Pass one that restarts, "
                "such as a DataLoader, or set detection_layers to numbers."
            )
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
        detection_layers: Layers = "auto",
        weights: Weights = "equal",
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

    def _fit(self, batches: FeatureBatches, detection_layers: Layers, weights: Weights) -> Self:
        """Set class centroids, eq. (1), detection layers and weights; ``auto`` reads the batches a second time."""
        layers = checks.check_layers(detection_layers, "detection_layers", len(self.layers))
        if layers is not None:
            checks.check_weights(weights, layers, "weights")  # before the work
        sums: list[ClassSums] = []
        for classes, features, labels in batches():
            if labels.max() >= classes:
                raise FeaturePathsError(f"There is a label {labels.max()}, but the model has {classes} logits, from 0.")
            sums = sums or [ClassSums(classes, feature.shape[1]) for feature in features]
            self._add(sums, features, labels)
        if not sums:
            raise FeaturePathsError("The loader has no image to fit to.")
        means = [layer_sums.means() for layer_sums in sums]
        if layers is None:
            meters = [CollapseMeter(mean, layer_sums.counts) for mean, layer_sums in zip(means, sums, strict=True)]
            for _, features, labels in batches():
                self._add(meters, features, labels)
            if (second := meters[0].count) != (first := int(sums[0].counts.sum())):
                raise FeaturePathsError(
                    f"The loader had {first} images, and {second} in a second pass. detection_layers: auto needs a "
                    "loader with the same images in every pass."
                )
            layers = layers_before_collapse([meter.result().pfc3 for meter in meters], COLLAPSED)
        layer_weights = checks.check_weights(weights, layers, "weights")
        self._set([torch.from_numpy(centroids_of(mean)).to(self.device) for mean in means], layers, layer_weights)
        return self

    def _add(self, accumulators: Sequence[Accumulator], features: Sequence[Tensor], labels: np.ndarray) -> None:
        """Add each layer's features to its accumulator; raise FeaturePathsError if one is not finite."""
        checks.check_features(self.layers, features)
        for accumulator, feature in zip(accumulators, features, strict=True):
            accumulator.add(feature.detach().cpu().numpy(), labels)

    def calibrate(
        self,
        clean: Batches,
        adversarial: Batches | None = None,
        fpr: float | Fraction = 0.05,
        *,
        voting_layers: Layers = "auto",
        voting_weights: Weights = "equal",
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
            The layers, from 1 and ascending, that vote. ``auto``: the `VOTERS` layers whose nearest centroid is most
            accurate on the adversarial examples; without them the paper's, 2, 3 and 4, as far as they exist.
        voting_weights
            The weight of each of them, with sum 1, or ``equal``.
        tie_break
            The rule for tied votes: see `featurepaths.defense.recognition.vote`.

        Raises
        ------
        FeaturePathsError
            If the defence is not fitted, there are no images, or a feature is not finite.
        """
        layers, weights = list(self.detector.layers), self.detector.weights.cpu().numpy().copy()
        rate = Fraction(str(fpr))
        if not 0 <= rate < 1:
            raise FeaturePathsError(f"fpr is {fpr}; set a share of the clean images, at least 0 and below 1.")
        if tie_break not in recognition.TIE_BREAKS:
            raise FeaturePathsError(f"tie_break is {tie_break!r}; use one of {', '.join(recognition.TIE_BREAKS)}.")
        voters = checks.check_layers(voting_layers, "voting_layers", len(self.layers))
        scores, _, _ = self._scores(clean, "clean")
        if adversarial is None:
            threshold = calibrate(scores, rates=[rate])[rate_name(rate)]
            voters = voters or recognition.middle_layers(len(self.layers)) or [1]
        else:
            adversarial_scores, votes, labels = self._scores(adversarial, "adversarial")
            threshold = calibrate(scores, adversarial_scores)["otsu"]
            voters = voters or recognition.best_layers(recognition.accuracy_of_votes(votes, labels), VOTERS)
        of_voters = checks.check_weights(voting_weights, voters, "voting_weights")
        self._calibration = recognition.Calibration(layers, weights, threshold, voters, of_voters, tie_break)
        return self

    @torch.no_grad()
    def _scores(self, loader: Batches, description: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return S_max [N], every layer's vote [N, L] and the labels [N] of a loader's images."""
        layers, weights = self.detector.layers, self.detector.weights.cpu().numpy()
        batches = []
        for images, labels in checks.check_batches(loader, self.device):
            similarity = self.paths(images).cpu().numpy()
            batches.append((s_max(similarity, layers, weights), recognition.nearest_classes(similarity), labels))
        if not batches:
            raise FeaturePathsError(f"The loader of {description} images has no image to calibrate by.")
        scores, votes, labels = (np.concatenate(values) for values in zip(*batches, strict=True))
        return scores, votes, labels
