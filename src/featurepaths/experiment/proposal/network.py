"""The network that a configuration is proposed for: its classes, normalisation and size, and who states them."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from featurepaths.data.size import DataSize
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.external.inputs import accepted_size, refusal, stated_inputs
from featurepaths.networks.external.model import ExternalNetwork
from featurepaths.runtime.entry_points import load_factory

WIDTH = {True: 64, False: 16}
"""Width of the workflow's own network, on a GPU and without one; the paper's is 64."""
EPOCHS, SMALL = 10, 10_000
"""Epochs of its trainings, and the number of images up to which batches are small."""


class Stated(NamedTuple):
    """Statement of a network's library: `source` in words, `values` of mean, std and size as far as they are known.

    `own` is whether they describe the weights that are used, not those that the library publishes.
    """

    source: str
    values: dict[str, Any]
    own: bool


@dataclass
class ProposedNetwork:
    """A section of `models`, comments on its keys and without a key, and warnings; `training` if it is trained."""

    section: dict[str, Any]
    remarks: dict[str, str] = field(default_factory=dict)
    further: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)


def own_network(images: int, eps: str, gpu: bool) -> ProposedNetwork:
    """Return the workflow's own network, trained on a number of images with and without adversarial training."""
    options = {"epochs": EPOCHS, "batch_size": 64 if images <= SMALL else 128}
    options |= {"learning_rate": 0.05, "schedule": "one-cycle"}
    adversary = {"method": "single-step", "eps": eps}
    training = {"standard": options, "adversarial": {**options, "adversary": adversary}}
    return ProposedNetwork({"architecture": "resnet18", "width": WIDTH[gpu]}, training=training)


def external_network(section: Mapping[str, Any], data: DataSize) -> ProposedNetwork:
    """Return the section of an external network, completed by its library's statements and its data's requirements.

    Keys that are set stay as they are. Where nothing is stated, nothing is set, and a comment says so.

    Raises
    ------
    FeaturePathsError
        If the network cannot be built, or takes images of other channels.
    """
    network = ProposedNetwork(with_classes(section, data.classes))
    bare = bare_network(network.section)
    if network.section.get("arguments") != section.get("arguments"):
        network.remarks["arguments"] = "num_classes is the number of classes of the data"
    stated = stated_by_library(network.section, bare)
    unsure = "" if stated.own else ". If the checkpoint was trained with others, set those"
    size, why = input_size(bare, stated, data)
    if "mean" not in section and len(stated.values.get("mean", [])) == data.channels:
        network.section |= {key: stated.values[key] for key in ("mean", "std")}
        network.remarks["mean"] = f"mean and std are from {stated.source}{unsure}"
    elif "mean" not in section:
        network.further.append(
            "No library states a normalisation for this network: images reach it in [0, 1]. If it was trained with "
            "normalised images, set mean and std, one value per channel."
        )
    published = stated.values.get("size")
    if "size" not in section and size:
        network.section["size"], network.remarks["size"] = size, why
    elif "size" not in section and published and published != data.height:
        network.further.append(f"{stated.source}: size {published}. Set size if the checkpoint was trained at that.")
        network.warnings.append(
            f"the images have {data.height}x{data.width} pixels, and {stated.source} states {published}x{published}: "
            "they are used as they are. Set the model's size if it was trained at another"
        )
    elif data.height < (published or 0) == size:
        network.warnings.append(f"images of {data.height}x{data.width} are enlarged to {size}x{size} for the network")
    arguments = network.section.get("arguments", {})
    random = not any(network.section.get("checkpoint") or arguments.get(key) for key in ("weights", "pretrained"))
    if random and section["factory"].startswith(("torchvision.", "timm:")):
        network.warnings.append("no weights are named, so the network has random ones: add --checkpoint")
    return network


def with_classes(section: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """Return the section of a network with the data's number of classes as an argument, if its function takes it.

    A number that is set stays, and published weights keep theirs.
    """
    arguments = section.get("arguments", {})
    factory = load_factory(section["factory"])
    own_number = any(arguments.get(key) for key in ("num_classes", "weights", "pretrained"))
    if own_number or not _takes_classes(section["factory"], factory):
        return dict(section)
    first = {"factory": section["factory"], "arguments": {**arguments, "num_classes": classes}}
    return first | {key: value for key, value in section.items() if key not in first}


def _takes_classes(name: str, factory: Callable) -> bool:
    if name == "timm:create_model" or _weights_of(name, factory):
        return True
    with suppress(TypeError, ValueError):  # without a signature
        return "num_classes" in inspect.signature(factory).parameters
    return False


def stated_size(section: Mapping[str, Any], classes: int) -> int | None:
    """Return the height and width of images that a network's library states, if it does."""
    section = with_classes(section, classes)
    return stated_by_library(section, bare_network(section)).values.get("size")


def stated_by_library(section: Mapping[str, Any], bare: nn.Module) -> Stated:
    """Return what torchvision's weights, timm's configuration or transformers' processor state of a network's inputs.

    `bare` is its `bare_network`.
    """
    name, arguments = section["factory"], section.get("arguments", {})
    if published := _weights_of(name, load_factory(name)):
        member = str(arguments.get("weights") or "DEFAULT").rpartition(".")[2]
        weights = published[member] if member in published.__members__ else published.DEFAULT
        transforms = weights.transforms()
        values = {"mean": list(transforms.mean), "std": list(transforms.std), "size": transforms.crop_size[0]}
        own = bool(arguments.get("weights")) and "checkpoint" not in section
        return Stated(f"torchvision's {type(weights).__name__}.{weights.name}", values, own)
    source, values = stated_inputs(bare)
    source = source.replace("its pretrained_cfg", "timm's pretrained_cfg of this network")
    return Stated(source, values, "checkpoint" not in section)


def input_size(network: nn.Module, stated: Stated, data: DataSize) -> tuple[int | None, str]:
    """Return the size that images are resized to for a bare network, and why; None if they are used as they are.

    Raises
    ------
    FeaturePathsError
        If the network takes images of other channels.
    """
    size = stated.values.get("size")
    if refusal(network, (data.channels, data.height, data.width)) is None:
        if stated.own and size and size != data.height:
            return size, f"from {stated.source}; the images have {data.height}x{data.width} pixels"
        return None, ""
    refused = f"the network does not accept images of {data.height}x{data.width}"
    if size and refusal(network, (data.channels, size, size)) is None:
        return size, f"{refused}; this size is from {stated.source}"
    if size := accepted_size(network, data.channels):
        return size, f"{refused}; it accepts this size, and perhaps others"
    if channels := next((count for count in (1, 3) if accepted_size(network, count)), None):
        raise FeaturePathsError(
            f"The images have {data.channels} channels, and the network takes {channels}. Store the images with "
            f"{channels} channels, or name a function whose network takes {data.channels}."
        )
    return None, ""  # `build_external` says why


def bare_network(section: Mapping[str, Any]) -> nn.Module:
    """Return the network of a section without its checkpoint, normalisation and size.

    Raises
    ------
    FeaturePathsError
        If it cannot be built.
    """
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
