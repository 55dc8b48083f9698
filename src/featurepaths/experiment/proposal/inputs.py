"""The normalisation, the size of images and the number of classes that an external network expects, and who says so."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import nn

from featurepaths.data.size import DataSize
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.external.inputs import accepted_size, refusal, stated_inputs
from featurepaths.networks.external.model import ExternalNetwork
from featurepaths.runtime.entry_points import load_factory


class Stated(NamedTuple):
    """What a network's library states: `source` in words, `values` of mean, std and size as far as they are known.

    `own` says whether they describe the very weights that are used, not those that the library publishes.
    """

    source: str
    values: dict[str, Any]
    own: bool


def with_classes(section: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """Return the section of a network whose function is told the number of classes of the data, if it takes it.

    A number that is given stays, and published weights keep their own.
    """
    arguments = section.get("arguments", {})
    factory = load_factory(section["factory"])
    own_number = any(arguments.get(key) for key in ("num_classes", "weights", "pretrained"))
    if own_number or not _takes_classes(section["factory"], factory):
        return dict(section)
    return {**section, "arguments": {**arguments, "num_classes": classes}}


def _takes_classes(name: str, factory: Callable) -> bool:
    if name == "timm:create_model" or _weights_of(name, factory):
        return True
    with suppress(TypeError, ValueError):  # without a signature
        return "num_classes" in inspect.signature(factory).parameters
    return False


def stated_by_library(section: Mapping[str, Any]) -> Stated:
    """Return what torchvision's weights, timm's configuration or transformers' processor state of a network's inputs.

    Raises
    ------
    FeaturePathsError
        If the network cannot be built.
    """
    name, arguments = section["factory"], section.get("arguments", {})
    if published := _weights_of(name, load_factory(name)):
        wanted = str(arguments.get("weights") or "DEFAULT").rpartition(".")[2]
        weights = published[wanted] if wanted in published.__members__ else published.DEFAULT
        transforms = weights.transforms()
        values = {"mean": list(transforms.mean), "std": list(transforms.std), "size": transforms.crop_size[0]}
        own = bool(arguments.get("weights")) and "checkpoint" not in section
        return Stated(f"torchvision's {type(weights).__name__}.{weights.name}", values, own)
    source, values = stated_inputs(_bare(section))
    source = source.replace("its pretrained_cfg", "timm's pretrained_cfg of this network")
    return Stated(source, values, "checkpoint" not in section)


def input_size(section: Mapping[str, Any], stated: Stated, data: DataSize) -> tuple[int | None, str]:
    """Return the size that images are resized to in the network, and why; None if they are used as they are.

    Raises
    ------
    FeaturePathsError
        If the network takes images of other channels.
    """
    network, size = _bare(section), stated.values.get("size")
    if refusal(network, (data.channels, data.height, data.width)) is None:
        if stated.own and size and size != data.height:
            return size, f"from {stated.source}; the images have {data.height}x{data.width} pixels"
        return None, ""
    refused = f"the network does not accept images of {data.height}x{data.width}"
    if size and refusal(network, (data.channels, size, size)) is None:
        return size, f"{refused}; this size is from {stated.source}"
    if size := accepted_size(network, data.channels):
        return size, f"{refused}; it accepts this size, and perhaps others"
    if channels := next((each for each in (1, 3) if accepted_size(network, each)), None):
        raise FeaturePathsError(
            f"The images have {data.channels} channels, and the network takes {channels}. Store the images with "
            f"{channels} channels, or name a function whose network takes {data.channels}."
        )
    return None, ""  # `build_external` says why


def _bare(section: Mapping[str, Any]) -> nn.Module:
    """Return the network of a section without its checkpoint."""
    with torch.random.fork_rng(devices=[]):
        return ExternalNetwork(section["factory"], section.get("arguments", {}), [0.0], [1.0]).network


def _weights_of(name: str, factory: Callable) -> Any:
    """Return torchvision's enumeration of the published weights of one of its networks; None of anything else."""
    if not name.startswith("torchvision.models"):
        return None
    from torchvision.models import get_model_weights

    with suppress(ValueError):  # a class
        published = get_model_weights(factory)
        return published if hasattr(published.DEFAULT.transforms(), "crop_size") else None  # no classifier
    return None
