"""Building an external network: its weights are loaded, its layers determined, and it is tried on images."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.networks.checkpoint import build_network, check_finite
from featurepaths.networks.external.files import read_weights
from featurepaths.networks.external.inputs import check_accepted, differing_inputs
from featurepaths.networks.external.weights import fit_weights
from featurepaths.networks.layers import find_layers
from featurepaths.networks.running import device_of, logits_of
from featurepaths.networks.warnings import are_probabilities
from featurepaths.runtime.entry_points import weights_opened

AGREEMENT = 1e-3
"""Tolerance on the difference of an image's logits alone and in a batch, as a share of the greatest logit."""


class External(NamedTuple):
    """An external network in evaluation mode, the names of its layers, and what to say about it.

    `doubts` are names of `featurepaths.networks.warnings.DOUBTS`, `notes` sentences on weights and inputs.
    """

    network: nn.Module
    layers: list[str]
    doubts: list[str]
    notes: list[str]


def build_external(
    build: Mapping[str, Any],
    weights: Path | None,
    layers: str | Sequence[str],
    image_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    key: str | None = None,
    files: Collection[Path] = (),
) -> External:
    """Build an external network, load its weights, find its layers and try it on images.

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
    key
        See `read_weights`.
    files
        The files that the configuration names. A note names others that the factory reads weights from.

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
    own_shape = channels, size or height, size or width
    with torch.random.fork_rng(devices=[]), weights_opened() as opened:
        torch.manual_seed(seed)
        network = build_network(build).eval()
        device_of(network)
        check_accepted(network.network, own_shape)
    others = {file.resolve() for file in opened} - {file.resolve() for file in files}
    notes = [f"the factory reads {file}: name it under `reads`, so that changes are noticed" for file in sorted(others)]
    if weights is not None:
        tensors, choice = read_weights(weights, key)
        notes += [*choice, *fit_weights(network.network, tensors, weights)]
    check_finite(network, f"{weights or build['factory']}: a weight is not a finite number, in")
    notes += differing_inputs(network.network, build, height)
    names = find_layers(network.network, layers, own_shape)
    doubts = _try_out(network, image_shape, classes)
    return External(network, [f"network.{name}" for name in names], doubts, notes)


def _try_out(network: nn.Module, image_shape: Sequence[int], classes: int) -> list[str]:
    """Return the warnings about a network that passes all checks."""
    images = torch.rand(3, *image_shape, generator=torch.Generator().manual_seed(0))
    images[1] = 0.45 + 0.1 * images[1]  # strong and weak noise
    with torch.no_grad():
        logits, again = network(images), network(images)
    if not logits.isfinite().all():
        raise FeaturePathsError("The network's logits of random images are not finite: NaN or infinite.")
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


def _check_alone(network: nn.Module, images: Tensor, logits: Tensor) -> None:
    """Raise FeaturePathsError unless an image has the same logits alone as in the batch [N, ...]."""
    try:
        with torch.no_grad():
            output = network(images[:1])
    except FeaturePathsError:
        raise
    except Exception as error:  # in code of the user or of a library
        raise FeaturePathsError(f"The network accepts {len(images)} images, but not one alone ({error}).") from error
    alone = logits_of(output, images[:1])
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
        "torch (NumPy, Pillow, JPEG), is quantised, takes an argmax, or calls detach(), no_grad() or inference_mode()"
    )
    with reported(problem, RuntimeError), torch.enable_grad():
        logits = network(images)
        proportions = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
        return torch.autograd.grad((logits * proportions).sum(), images)[0]
