"""Taking a network that is given: its weights are fitted, its layers found, and it is tried out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.checkpoint import build_network, check_finite
from featurepaths.networks.external.weights import fit_weights, read_weights
from featurepaths.networks.layers import REFUSALS, find_layers
from featurepaths.networks.probabilities import are_probabilities

AGREEMENT = 1e-3
"""By how much an image's logits may differ alone and in a batch, as a share of the greatest."""


def take_network(
    build: Mapping[str, Any],
    weights: Path | None,
    layers: str | Sequence[str],
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
) -> tuple[nn.Module, list[str], list[str]]:
    """Return a network that is given, in evaluation mode, the names of its layers, and what is doubtful about it.

    Doubts are names of `featurepaths.networks.warnings.DOUBTS`.

    Parameters
    ----------
    build
        The arguments of `featurepaths.networks.external.model.Given`.
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
        one, it does not give every image a logit for each class, the same ones each time and in every batch, or the
        logits have no gradient by the images.
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
    doubts = _try_out(network, image_shape, classes)
    return network, [f"network.{name}" for name in names], doubts


def _try_out(network: nn.Module, image_shape: Sequence[int], classes: int) -> list[str]:
    """Return what is doubtful about a network, once it has passed all trials."""
    images = torch.rand(3, *image_shape, generator=torch.Generator().manual_seed(0))
    images[1] = 0.45 + 0.1 * images[1]  # noise, and next to none
    with torch.no_grad():
        logits, again = network(images), network(images)
    _check_shape(logits, len(images), "")
    if logits.shape[1] != classes:
        raise FeaturePathsError(
            f"The network gives {logits.shape[1]} logits, and the data have {classes} classes: in their order, one "
            "each. Most functions take num_classes among their arguments."
        )
    if not torch.equal(logits, again):
        raise FeaturePathsError(
            "The network answers the same images differently each time: no figure could be trusted."
        )
    _check_alone(network, images, logits)
    found = {
        "probabilities": are_probabilities(logits),
        # NaN and infinity are no gradient to step along
        "gradient": not (_gradient(network, images).nan_to_num(0, 0, 0) != 0).any(),
    }
    return [name for name, is_so in found.items() if is_so]


def _check_shape(logits: Any, count: int, of: str) -> None:
    """Raise FeaturePathsError unless these are logits of `count` images; `of` says which, in words."""
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count:
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise FeaturePathsError(f"The network should give logits [N, classes], not {given}{of}.")


def _check_alone(network: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Raise FeaturePathsError unless an image alone is answered as in a batch [N, ...] with these logits."""
    try:
        with torch.no_grad():
            alone = network(images[:1])
    except REFUSALS as error:
        raise FeaturePathsError(f"The network takes {len(images)} images, but not one alone ({error}).") from error
    _check_shape(alone, 1, ", of one image alone; does it squeeze() the axis of images away?")
    difference, greatest = (alone - logits[:1]).abs().max(), logits.abs().max()
    if difference > AGREEMENT * greatest:
        raise FeaturePathsError(
            "The network answers an image differently alone than together with others (logits differ by "
            f"{difference:.3g}): normalisation by the batch's statistics does that, and no figure could be trusted."
        )


def _gradient(network: nn.Module, images: Tensor) -> Tensor:
    """Return the gradient of a network's logits, in random proportions, by images [N, ...].

    Raises
    ------
    FeaturePathsError
        If there is none.
    """
    images = images.clone().requires_grad_()
    gradient, reason = None, ""
    try:
        with torch.enable_grad():
            logits = network(images)
            proportions = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
            (gradient,) = torch.autograd.grad((logits * proportions).sum(), images, allow_unused=True)
    except RuntimeError as error:
        reason = f" ({error})"
    if gradient is None:
        raise FeaturePathsError(
            "The network's logits have no gradient by the images, without which it cannot be attacked: something in it "
            "leaves torch (NumPy, Pillow, JPEG), takes an argmax, or calls detach(), no_grad() or inference_mode()"
            f"{reason}."
        )
    return gradient
