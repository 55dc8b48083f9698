"""Checkpoints: weights in safetensors, and in their metadata what rebuilds the network."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.networks.external.model import ExternalNetwork
from featurepaths.networks.forward import layer_shapes
from featurepaths.networks.resnet import ResNet
from featurepaths.store.origin import Origin
from featurepaths.store.tensors import read_tensors, write_tensors

STATISTICS = ("running_mean", "running_var")
"""Names of the buffers that batch normalisation computes with."""


def build_network(build: Mapping[str, Any]) -> nn.Module:
    """Return the network that `build` describes: the arguments of `ExternalNetwork`, or else of `ResNet`."""
    return ExternalNetwork(**build) if "factory" in build else ResNet(**build)


def save_checkpoint(
    path: Path,
    network: nn.Module,
    build: Mapping[str, Any],
    layers: Sequence[str],
    image_shape: tuple[int, ...],
    origin: Origin,
    **notes: Any,
) -> None:
    """Write the network's weights, with its architecture, layers and size as measured on the network itself.

    Parameters
    ----------
    build
        Its description: see `build_network`.
    layers
        Names of the modules that are its layers.
    image_shape
        Channels, height and width of an input image.
    notes
        Further entries of the description, such as the device.

    Raises
    ------
    FeaturePathsError
        If an entry of its state that is no tensor could not be read again.
    """
    shapes = layer_shapes(network, layers, image_shape)
    description = {
        "build": dict(build),
        "image_shape": list(image_shape),
        "layers": [{"name": name, "shape": shape} for name, shape in zip(layers, shapes, strict=True)],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        **notes,
        "origin": asdict(origin),
    }
    write_tensors(path, {name: _as_tensor(name, value) for name, value in network.state_dict().items()}, description)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a checkpoint, in evaluation mode, and the checkpoint's description.

    Its weights do not require gradients, which saves time and memory in an attack's backward pass.

    Raises
    ------
    FeaturePathsError
        If the file is missing or damaged, does not fit its own architecture, or holds a weight that is not finite.
    """
    weights, description = read_tensors(path)
    network = build_network(description["build"])
    with reported(f"{path} does not fit the network it describes", RuntimeError):
        others = [name for name, value in network.state_dict().items() if not isinstance(value, Tensor)]
        network.load_state_dict(weights | {name: _as_object(weights[name]) for name in others if name in weights})
    check_finite(network, f"{path} holds a weight that is not a finite number, in")
    return network.to(device).eval().requires_grad_(False), description


def layer_names(description: Mapping[str, Any]) -> list[str]:
    """Return the names of the modules that are the layers, from a checkpoint's description."""
    return [layer["name"] for layer in description["layers"]]


def _as_tensor(name: str, value: Any) -> Tensor:
    """Return a tensor as it is, and any other entry of a network's state, by its name, as bytes.

    Raises
    ------
    FeaturePathsError
        If the entry cannot be saved, or not be read again without executing code.
    """
    if isinstance(value, Tensor):
        return value
    problem = f"The network's state has an entry {name} that cannot be saved and read without executing code"
    remedy = "Let get_extra_state return tensors, numbers and texts of Python, or lists and dicts of them."
    with reported(problem, Exception, reason=lambda _: type(value).__name__, remedy=remedy):
        torch.save(value, file := BytesIO())
        content = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
        _as_object(content)
    return content


def _as_object(content: Tensor) -> Any:
    """Return what `_as_tensor` turned into bytes; nothing in it is executed."""
    return torch.load(BytesIO(content.numpy().tobytes()), weights_only=True)


def check_finite(network: nn.Module, problem: str) -> None:
    """Raise FeaturePathsError with `problem` and the tensor's name if a weight or a statistic is NaN or infinite.

    Other buffers may hold minus infinity, as masks of attention do.
    """
    buffers = {name for name, _ in network.named_buffers() if not name.endswith(STATISTICS)}
    for name, value in network.state_dict().items():
        if isinstance(value, Tensor) and not (value.isfinite() | value.isneginf() & (name in buffers)).all():
            raise FeaturePathsError(f"{problem} {name}.")
