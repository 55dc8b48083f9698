"""Taking a network that is given: its weights are fitted, its layers found, and it is tried out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.checkpoint import build_network, check_finite
from featurepaths.networks.layers import find_layers
from featurepaths.networks.weights import fit_weights, read_weights


def take_network(
    build: Mapping[str, Any],
    weights: Path | None,
    layers: str | Sequence[str],
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
) -> tuple[nn.Module, list[str]]:
    """Return a network that is given, in evaluation mode, and the names of its layers.

    Parameters
    ----------
    build
        The arguments of `featurepaths.networks.given.Given`.
    weights
        A file for `read_weights`; None leaves the weights that its function gives it.
    layers
        See `find_layers`.
    image_shape
        Channels, height and width of the data's images.
    classes
        How many classes they have.
    seed
        Draws the weights that the function draws at random.

    Raises
    ------
    FeaturePathsError
        If it cannot be built, its weights do not fit or are not finite, it cannot take such images, a layer cannot be
        one, or it does not give every image a logit for each class, the same ones each time.
    """
    channels, height, width = image_shape
    if len(build["mean"]) != channels:
        raise FeaturePathsError(f"mean and std: the images have {channels} channels, not {len(build['mean'])}.")
    size = build["size"]
    if size is not None and height != width:
        raise FeaturePathsError(f"size: the images are {height}x{width}; make them square in `data` (size).")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(build).eval()
    if weights is not None:
        fit_weights(network.network, read_weights(weights), weights)
    check_finite(network, f"{weights or build['factory']}: a weight is not a finite number, in")
    names = find_layers(network.network, layers, (channels, size or height, size or width))
    _try_out(network, image_shape, classes)
    return network, [f"network.{name}" for name in names]


def _try_out(network: nn.Module, image_shape: Sequence[int], classes: int) -> None:
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, again = network(images), network(images)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise FeaturePathsError(f"The network should give logits [N, classes], not {given}.")
    if logits.shape[1] != classes:
        raise FeaturePathsError(
            f"The network gives {logits.shape[1]} logits, and the data have {classes} classes: in their order, one "
            "each. Most functions take num_classes among their arguments."
        )
    if not torch.equal(logits, again):
        raise FeaturePathsError(
            "The network answers the same images differently each time: no figure could be trusted."
        )
