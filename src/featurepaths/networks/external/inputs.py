"""The images that an external network takes: whether it accepts them, and the normalisation that it states itself."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featurepaths.errors import FeaturePathsError, place_of
from featurepaths.networks.running import blank_images, evaluation_mode

SIZES = (16, 28, 32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
"""Common heights and widths of images."""
PROCESSOR = "preprocessor_config.json"
"""The file of transformers' image processor, in the folder of the weights."""


def check_accepted(network: nn.Module, image_shape: Sequence[int]) -> None:
    """Run a network on two blank images of `image_shape`; lazy modules get their shapes.

    Raises
    ------
    FeaturePathsError
        If it does not accept them; it names a common size that it accepts.
    """
    if (error := refusal(network, image_shape)) is None:
        return
    channels = image_shape[0]
    if size := accepted_size(network, channels):
        remedy = f"It accepts {channels}x{size}x{size}: set the model's size to {size}, and images are resized to it."
    else:
        remedy = (
            "It has to take one tensor [N, C, H, W]: if it takes a dict, other arguments or other channels, wrap it in "
            "a module that converts the images."
        )
    shape = "x".join(map(str, image_shape))
    raise FeaturePathsError(f"The network does not accept images of {shape} ({place_of(error)}). {remedy}") from error


def accepted_size(network: nn.Module, channels: int) -> int | None:
    """Return the first of the common `SIZES` of images that a network accepts, None if it accepts none."""
    return next((size for size in SIZES if refusal(network, (channels, size, size)) is None), None)


def refusal(network: nn.Module, image_shape: Sequence[int]) -> Exception | None:
    """Return the error that a network raises on blank images of a shape, if it does."""
    try:
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(network):
            network(blank_images(network, 2, image_shape))
    except Exception as error:  # in code of the user or of a library
        return error
    return None


def differing_inputs(network: nn.Module, build: Mapping[str, Any], height: int) -> Iterator[str]:
    """Yield a sentence if the network states another normalisation or size of its images than `build`.

    See `stated_inputs`.

    Parameters
    ----------
    build
        The arguments of `featurepaths.networks.external.model.ExternalNetwork`.
    height
        Height of the data's images.
    """
    source, stated = stated_inputs(network)
    configured = {**build, "size": build["size"] or height}
    others = {key: value for key, value in stated.items() if not _equal(value, configured[key])}
    if others:
        listed = ", ".join(f"{key}: {value}" for key, value in others.items())
        current = ", ".join(f"{key}: {configured[key]}" for key in others)
        yield f"{source} states {listed}; used are {current}. Unless it was trained with those, set them in `models`."


def stated_inputs(network: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return where a network's inputs are stated, and mean and std of images in [0, 1], and their size, as stated.

    timm's networks state them, and transformers' processors are in the folder of the weights. Otherwise both are empty.
    """
    if config := getattr(network, "pretrained_cfg", None):  # of timm
        stated = {key: config.get(key) for key in ("mean", "std")} | {"size": (config.get("input_size") or [0])[-1]}
        return "its pretrained_cfg", {key: value for key, value in stated.items() if value}
    file = Path(str(getattr(network, "name_or_path", None) or "nowhere")) / PROCESSOR
    with suppress(OSError, ValueError, TypeError, AttributeError, ArithmeticError):  # absent, or of another kind
        return str(file), _of_processor(json.loads(file.read_text(encoding="utf-8")))
    return "", {}


def _of_processor(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and std of images in [0, 1], and their size, of the description of an image processor."""
    if config.get("rescale_offset"):  # EfficientNet's has additional steps
        return {}
    scale = 255 * config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 255
    mean, std = config.get("image_mean"), config.get("image_std")
    if not config.get("do_normalize", True) or not mean or not std:
        mean, std = [0.0] * 3, [1.0] * 3
    size = (config.get("do_center_crop") and config.get("crop_size")) or config.get("size") or {}
    side = size.get("height", size.get("shortest_edge")) if isinstance(size, Mapping) else size
    values = {"mean": mean, "std": std}
    stated = {key: [round(value / scale, 6) for value in channels] for key, channels in values.items()}
    return stated | ({"size": side} if side else {})


def _equal(stated: Any, configured: Any) -> bool:
    if isinstance(configured, int):
        return stated == configured
    return len(stated) == len(configured) and all(abs(a - b) < 1e-3 for a, b in zip(stated, configured, strict=True))
