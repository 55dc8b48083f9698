"""Checks of a defence's inputs: batches of images, features, layers and weights."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import weights_of
from featurepaths.paths.features import check_finite

Layers = str | Sequence[int]
"""Numbers of layers, from 1, or ``auto``."""
Weights = str | Sequence[float]
"""The weight of each of some layers, or ``equal``."""
Batches = Iterable[tuple[Tensor, Tensor]]
"""A loader: images [n, C, H, W] in [0, 1] and labels [n], batch by batch."""


def check_features(names: Sequence[str], features: Sequence[Tensor]) -> None:
    """Raise FeaturePathsError, with layer and images, if one of a batch's features by layer [n, d] is not finite."""
    for name, feature in zip(names, features, strict=True):
        check_finite(f"The batch's features of layer {name} are", feature, slice(0, len(feature)))


def check_batches(loader: Batches, device: torch.device) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield images, on `device`, and labels of a loader, without those of negative labels.

    Raises
    ------
    FeaturePathsError
        If a batch is not a pair of images [n, C, H, W] and integer labels [n], or images are not floats in [0, 1].
    """
    for batch in loader:
        try:
            images, labels = batch
            labels = torch.as_tensor(labels).cpu()
            is_pair = isinstance(images, Tensor) and images.ndim == 4 and labels.shape == images.shape[:1]
            is_pair &= not labels.is_floating_point()
        except (TypeError, ValueError):
            is_pair = False
        if not is_pair:
            raise FeaturePathsError("A loader has to yield pairs of images [n, C, H, W] and labels [n], whole numbers.")
        labelled = labels >= 0
        in_range = ((images >= -1e-6) & (images <= 1 + 1e-6)).flatten(1).all(dim=1).cpu() | ~labelled
        if not (images.is_floating_point() and in_range.all()):
            row = int(in_range.int().argmin())  # the first that is not
            raise FeaturePathsError(
                f"Images have to be floating-point numbers in [0, 1], and image {row} of a batch, from 0, is not. "
                "Make normalization the model's first layer: attacks have to see pixels."
            )
        if labelled.any():
            yield images[labelled].to(device), labels[labelled].numpy()


def check_layers(layers: Layers, name: str, count: int) -> list[int] | None:
    """Return layers as a list if they are different numbers from 1 to `count`, ascending; None if they are ``auto``."""
    if isinstance(layers, str) and layers == "auto":
        return None
    if isinstance(layers, str) or len(layers) == 0 or not all(layer in range(1, count + 1) for layer in layers):
        raise FeaturePathsError(f"{name} is {layers!r}; use auto, or numbers from 1 to {count}.")
    if list(layers) != sorted(set(layers)):
        raise FeaturePathsError(f"{name} is {layers!r}; use different layers in ascending order.")
    return [int(layer) for layer in layers]


def check_weights(weights: Weights, layers: Sequence[int], name: str) -> np.ndarray:
    """Return the weights [L] of layers if they are ``equal``, or not negative with sum 1."""
    if weights == "equal" if isinstance(weights, str) else len(weights) == len(layers):
        values = weights_of(weights if isinstance(weights, str) else list(weights), len(layers))
        if (values >= 0).all() and np.isclose(values.sum(), 1):
            return values
    raise FeaturePathsError(f"{name} is not valid; use equal, or one weight per layer of {list(layers)}, with sum 1.")
