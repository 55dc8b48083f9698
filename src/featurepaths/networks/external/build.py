"""Building an external network: its weights are loaded, its layers determined, and it is tried on images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.networks.checkpoint import build_network, check_finite
from featurepaths.networks.external.weights import fit_weights, read_weights
from featurepaths.networks.forward import REFUSALS
from featurepaths.networks.layers import find_layers
from featurepaths.networks.warnings import are_probabilities

AGREEMENT = 1e-3
"""Tolerance on the difference of an image's logits alone and in a batch, as a share of the greatest logit."""


def build_external(
    build: Mapping[str, Any],
    weights: Path | None,
    layers: str | Sequence[str],
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
) -> tuple[nn.Module, list[str], list[str]]:
    """Return an external network in evaluation mode, the names of its layers, and warnings about it.

    Warnings are names of `featurepaths.networks.warnings.DOUBTS`.

    Parameters
    ----------
    build
        The arguments of `featurepaths.networks.external.model.ExternalNetwork`.
    weights
        A file for `read_weights`; None keeps the weights that the factory sets.
    layers
        See `find_layers`.
    image_shape
        Channels, height and width of the data's images.
    classes
        Number of classes of the data.
    seed
        Seed of the weights that the factory draws at random.

    Raises
    ------
    FeaturePathsError
        If it cannot be built, its weights do not fit or are not finite, it does not accept such images, a module cannot
        be a layer, its logits are not one per image and class, or change between passes or batches, or they have no
        gradient with respect to the images.
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
    warnings = _try_out(network, image_shape, classes)
    return network, [f"network.{name}" for name in names], warnings


def _try_out(network: nn.Module, image_shape: Sequence[int], classes: int) -> list[str]:
    """Return the warnings about a network that passes all checks."""
    images = torch.rand(3, *image_shape, generator=torch.Generator().manual_seed(0))
    images[1] = 0.45 + 0.1 * images[1]  # strong and weak noise
    with torch.no_grad():
        logits, again = network(images), network(images)
    _check_shape(logits, len(images), "")
    if logits.shape[1] != classes:
        raise FeaturePathsError(
            f"There are {logits.shape[1]} logits, but the data have {classes} classes. One logit per class is "
            "needed, in the order of the classes. Most factories have an argument num_classes."
        )
    if not torch.equal(logits, again):
        raise FeaturePathsError(
            "The network returns different logits for the same images each time, so that no result could be trusted. "
            "Remove the randomness in its evaluation mode."
        )
    _check_alone(network, images, logits)
    has_gradient = bool(_gradient(network, images).nan_to_num(0, 0, 0).any())  # NaN, infinity: nothing to step along
    warnings = {"probabilities": are_probabilities(logits), "gradient": not has_gradient}
    return [name for name, applies in warnings.items() if applies]


def _check_shape(logits: Any, count: int, context: str) -> None:
    """Raise FeaturePathsError, with `context` at its end, unless these are logits of `count` images."""
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != count:
        output = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise FeaturePathsError(f"The network must return logits [N, classes], not {output}{context}.")


def _check_alone(network: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Raise FeaturePathsError unless an image has the same logits alone as in the batch [N, ...]."""
    problem = f"The network accepts {len(images)} images, but not one alone"
    with reported(problem, *REFUSALS), torch.no_grad():
        alone = network(images[:1])
    _check_shape(alone, 1, " for one image alone. If it calls squeeze(), name the axis")
    difference, greatest = (alone - logits[:1]).abs().max(), logits.abs().max()
    if difference > AGREEMENT * greatest:
        raise FeaturePathsError(
            "The network's logits of an image alone differ from those in a batch, by "
            f"{difference:.3g}, so that no result could be trusted. Do not normalise by the batch's statistics."
        )


def _gradient(network: nn.Module, images: Tensor) -> Tensor:
    """Return the gradient of a random combination of the logits with respect to images [N, ...].

    Raises
    ------
    FeaturePathsError
        If there is none.
    """
    images = images.clone().requires_grad_()
    problem = (
        "The network's logits have no gradient with respect to the images, which attacks need. A part of it leaves "
        "torch (NumPy, Pillow, JPEG), takes an argmax, or calls detach(), no_grad() or inference_mode()"
    )
    with reported(problem, RuntimeError), torch.enable_grad():
        logits = network(images)
        proportions = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        return torch.autograd.grad((logits * proportions).sum(), images)[0]
