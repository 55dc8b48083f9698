"""Fitting of a defence: class centroids, detection layers, threshold and voting layers, from batches of images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from featurepaths.defense.calibration import Calibration
from featurepaths.defense.selection import accuracy_of_votes, best_layers, middle_layers
from featurepaths.defense.votes import TIE_BREAKS
from featurepaths.detectors.thresholds import at_false_positive_rate, otsu
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.chunks import ClassSums
from featurepaths.paths.collapse import CollapseMeter, layers_before_collapse
from featurepaths.paths.equations import centroids_of, weights_of
from featurepaths.runtime.blocks import finite_rows

COLLAPSED = 0.99
"""Training PFC3 from which a layer counts as collapsed, if detection layers are ``auto``."""
VOTERS = 3
"""The number of voting layers, if they are ``auto``."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""A loader: images [n, C, H, W] in [0, 1] and labels [n], batch by batch."""
FeatureBatches = Callable[[], Iterable[tuple[int, list[Tensor], np.ndarray]]]
"""Starts a pass over training images: number of classes, features by layer [n, d], and labels [n], batch by batch."""
Scores = tuple[np.ndarray, np.ndarray, np.ndarray]
"""S_max [N], every layer's vote [N, L], and the labels [N] of images."""


def fit_centroids(
    batches: FeatureBatches,
    names: Sequence[str],
    detection_layers: str | Sequence[int],
    weights: str | Sequence[float],
) -> tuple[list[np.ndarray], list[int], np.ndarray]:
    """Return class centroids by layer [C, d], eq. (1), and the detection layers, from 1, with their weights.

    `names` are the layers'. If `detection_layers` is ``auto``, the batches are read a second time.
    """
    layers = None if is_auto(detection_layers) else check_layers(detection_layers, "detection_layers", len(names))
    if layers is not None:
        check_weights(weights, layers, "weights")  # before the work
    sums: list[ClassSums] = []
    for classes, features, labels in batches():
        if labels.max() >= classes:
            raise FeaturePathsError(f"There is a label {labels.max()}, but the model has {classes} logits, from 0.")
        sums = sums or [ClassSums(classes, feature.shape[1]) for feature in features]
        for layer_sums, values in zip(sums, finite_arrays(names, features), strict=True):
            layer_sums.add(values, labels)
    if not sums:
        raise FeaturePathsError("The loader has no image to fit to.")
    means = [layer_sums.means() for layer_sums in sums]
    if layers is None:
        meters = [CollapseMeter(mean, layer_sums.counts) for mean, layer_sums in zip(means, sums, strict=True)]
        for _, features, labels in batches():
            for meter, values in zip(meters, finite_arrays(names, features), strict=True):
                meter.add(values, labels)
        if (second := meters[0].count) != (first := int(sums[0].counts.sum())):
            raise FeaturePathsError(
                f"The loader had {first} images, and {second} in a second pass. detection_layers: auto needs a loader "
                "with the same images in every pass."
            )
        layers = layers_before_collapse([meter.result().pfc3 for meter in meters], COLLAPSED)
    return [centroids_of(mean) for mean in means], layers, check_weights(weights, layers, "weights")


def calibration_of(
    detection: tuple[list[int], np.ndarray],
    clean: Callable[[], Scores],
    adversarial: Callable[[], Scores] | None,
    fpr: float | Fraction,
    layer_count: int,
    voting_layers: str | Sequence[int],
    voting_weights: str | Sequence[float],
    tie_break: str,
) -> Calibration:
    """Return the calibration with these detection layers and weights; see `FeaturePathDefense.calibrate`.

    `clean` and `adversarial` compute the scores of their images; they are called once the options are checked.
    """
    rate = Fraction(str(fpr))
    if not 0 <= rate < 1:
        raise FeaturePathsError(f"fpr is {fpr}; set a share of the clean images, at least 0 and below 1.")
    if tie_break not in TIE_BREAKS:
        raise FeaturePathsError(f"tie_break is {tie_break!r}; use one of {', '.join(TIE_BREAKS)}.")
    voters = None if is_auto(voting_layers) else check_layers(voting_layers, "voting_layers", layer_count)
    scores, _, _ = clean()
    if adversarial is None:
        threshold = at_false_positive_rate(scores, rate)
        voters = voters or middle_layers(layer_count) or [1]
    else:
        adversarial_scores, votes, labels = adversarial()
        threshold = otsu(np.concatenate([scores, adversarial_scores]))
        voters = voters or best_layers(accuracy_of_votes(votes, labels), VOTERS)
    return Calibration(
        *detection, threshold, voters, check_weights(voting_weights, voters, "voting_weights"), tie_break
    )


def check_batches(loader: Batches, device: torch.device) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield images, on `device`, and labels of a loader, without those of negative labels.

    Raises
    ------
    FeaturePathsError
        If a batch is not a pair of images [n, C, H, W] and labels [n], or images are not floats in [0, 1].
    """
    for batch in loader:
        try:
            images, labels = batch
            labels = torch.as_tensor(labels).cpu()
            is_pair = isinstance(images, Tensor) and images.ndim == 4 and labels.shape == images.shape[:1]
        except (TypeError, ValueError):
            is_pair = False
        if not is_pair:
            raise FeaturePathsError("A loader has to yield pairs of images [n, C, H, W] and labels [n].")
        labelled = labels >= 0
        in_range = ((images >= -1e-6) & (images <= 1 + 1e-6)).flatten(1).all(dim=1).cpu() | ~labelled
        if not (images.is_floating_point() and in_range.all()):
            row = 0 if in_range.all() else first_false(in_range)
            raise FeaturePathsError(
                f"Images have to be floating-point numbers in [0, 1], and image {row} of a batch, from 0, is not. "
                "Make normalization the model's first layer: attacks have to see pixels."
            )
        if labelled.any():
            yield images[labelled].to(device), labels[labelled].numpy()


def finite_arrays(names: Sequence[str], features: Sequence[Tensor]) -> list[np.ndarray]:
    """Return features by layer as float32 arrays; raise FeaturePathsError if one is not finite."""
    for name, feature in zip(names, features, strict=True):
        if not (finite := finite_rows(feature)).all():
            raise FeaturePathsError(
                f"The feature of layer {name} is not finite for image {first_false(finite)} of the batch, from 0."
            )
    return [feature.cpu().numpy() for feature in features]


def first_false(values: Tensor) -> int:
    """Return the first position at which `values` [N] is false."""
    return int((~values).nonzero()[0])


def is_auto(layers: str | Sequence[int]) -> bool:
    """Return whether layers are ``auto``; they may be an array."""
    return isinstance(layers, str) and layers == "auto"


def check_layers(layers: str | Sequence[int], name: str, count: int) -> list[int]:
    """Return layers as a list if they are different numbers from 1 to `count`, ascending."""
    if isinstance(layers, str) or len(layers) == 0 or not all(layer in range(1, count + 1) for layer in layers):
        raise FeaturePathsError(f"{name} is {layers!r}; use auto, or numbers from 1 to {count}.")
    if list(layers) != sorted(set(layers)):
        raise FeaturePathsError(f"{name} is {layers!r}; use different layers in ascending order.")
    return [int(layer) for layer in layers]


def check_weights(weights: str | Sequence[float], layers: Sequence[int], name: str) -> np.ndarray:
    """Return the weights [L] of layers if they are ``equal``, or not negative with sum 1."""
    if weights == "equal" if isinstance(weights, str) else len(weights) == len(layers):
        values = weights_of(weights if isinstance(weights, str) else list(weights), len(layers))
        if (values >= 0).all() and np.isclose(values.sum(), 1):
            return values
    raise FeaturePathsError(f"{name} is not valid; use equal, or one weight per layer of {list(layers)}, with sum 1.")
