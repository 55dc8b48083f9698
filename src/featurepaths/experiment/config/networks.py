"""Configuration of networks and of their training."""

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from featurepaths.experiment.config.types import Exact, Function, Pixels, Positive, Precision, Section, distinct
from featurepaths.store.fingerprints import files_in, holds_working_directory

PRETRAINED = "pretrained"
"""The training's name in the runs of pretrained networks."""


class Model(Section):
    """A network of the paper's Table 1."""

    architecture: Literal["resnet20", "resnet18"]
    width: int = Field(64, ge=1)
    """Channels of the first stage; the paper's networks have 64."""
    stem: Literal["conv", "pool"] = "conv"
    """How 32x32 images become 16x16: a 3x3 convolution of stride 2, or one of stride 1 and a max-pool."""


Modules = Annotated[list[str], Field(min_length=1), AfterValidator(distinct)]
"""Names of modules of a network."""


def _below(paths: list[str]) -> list[str]:
    """Refuse folders that hold the results too."""
    if above := [path for path in paths if holds_working_directory(path)]:
        raise ValueError(f"{above[0]} holds the working directory: name the files, or a folder for them")
    return paths


class PretrainedNetwork(Section):
    """A pretrained network from torchvision, timm, transformers, or your own package."""

    not_in_digest: ClassVar = ("checkpoint", "reads")
    factory: Function
    """`package.module:function`, a function, class or class method that returns the network: a `torch.nn.Module` that
    maps images [N, C, H, W] to logits. The working directory is searched first."""
    arguments: dict[str, Any] = {}
    """Its keyword arguments."""
    checkpoint: str | None = None
    """File of its weights: `.safetensors`, or `.pt`, `.pth` or `.ckpt` with a state dict, which cannot execute code.
    null keeps the weights that the function sets."""
    checkpoint_key: str | None = None
    """Key of the weights in the file, or the prefix of their names; nested keys are joined by dots. null prefers an
    average, as under `state_dict_ema`."""
    reads: Annotated[list[str], AfterValidator(_below)] = []
    """Files and folders that the function reads itself: when they change, the network is built again. Those named in
    `arguments` need not be listed."""
    mean: list[Exact] | None = None
    """Value subtracted from each channel of images in [0, 1] before the network processes them."""
    std: list[Positive] | None = None
    """Value by which each channel is then divided."""
    size: int | None = Field(None, ge=1)
    """Height and width to which images are resized first; null keeps those of the data."""
    layers: Annotated[
        Annotated[str, Tag("text")] | Annotated[Modules, Tag("list")],
        Discriminator(lambda layers: "list" if isinstance(layers, list) else "text"),
    ] = "auto"
    """Modules whose outputs are the layers: their names, a pattern such as `layer?.*`, or `auto` for the network's
    blocks. `featurepaths layers <config>` lists them."""

    @model_validator(mode="after")
    def _normalisation_is_whole(self):
        if (self.mean is None) != (self.std is None) or len(self.mean or []) != len(self.std or []):
            raise ValueError("mean and std: set both, for the same channels, or neither")
        return self

    def external_files(self) -> dict[str, Path]:
        """Return the files that the network comes from, by names that do not depend on their location.

        They are `checkpoint`, `reads`, and strings in `arguments` that name a file or a folder, which stands for all
        its files; not one with the working directory, which such a string hardly means.
        """
        # not Path.exists, which raises on long texts
        texts = [text for text in _texts(self.arguments) if os.path.exists(text)]  # noqa: PTH110
        named = {"reads": self.reads, "arguments": [text for text in texts if not holds_working_directory(text)]}
        paths = {f"{key}.{number}": Path(path) for key, paths in named.items() for number, path in enumerate(paths)}
        files = {f"{key}/{name}": file for key, path in paths.items() for name, file in files_in(path).items()}
        return ({"checkpoint": Path(self.checkpoint)} if self.checkpoint else {}) | files


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings in JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _kind_of_model(model: Any) -> str:
    """Return the name of the section class of a network: a pretrained one has a factory."""
    present = "factory" in model if isinstance(model, Mapping) else isinstance(model, PretrainedNetwork)
    return "PretrainedNetwork" if present else "Model"


AnyModel = Annotated[
    Annotated[Model, Tag("Model")] | Annotated[PretrainedNetwork, Tag("PretrainedNetwork")],
    Discriminator(_kind_of_model),
]


class Adversary(Section):
    """The attack inside the training loop (L-infinity)."""

    method: Literal["pgd", "single-step"]
    """`pgd` (Madry et al., 2018), or `single-step` from a random start (Wong et al., 2020), many times faster."""
    eps: Pixels
    """Radius, in pixel values of [0, 1]."""
    step: Pixels | None = None
    """Step of `pgd`; `single-step` always uses 1.25 eps."""
    iterations: int | None = Field(None, ge=1)
    """Steps of `pgd`."""

    @model_validator(mode="after")
    def _method_has_its_options(self):
        present = self.step is not None, self.iterations is not None
        if self.method == "pgd" and not all(present):
            raise ValueError("method pgd needs step and iterations")
        if self.method == "single-step" and any(present):
            raise ValueError("method single-step takes neither step nor iterations")
        return self


class Training(Section):
    """Training by SGD on the cross-entropy."""

    epochs: int = Field(300, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: Positive = Fraction(1, 100)
    momentum: Annotated[Exact, Field(ge=0, lt=1)] = Fraction(9, 10)
    weight_decay: Annotated[Exact, Field(ge=0)] = Fraction(5, 10000)
    schedule: Literal["steps", "one-cycle", "constant"] = "steps"
    """`steps` divides the rate by 10 at the milestones; `one-cycle` rises to the rate and falls again."""
    milestones: list[Annotated[int, Field(ge=1)]] = [117, 233]
    """Epochs at the start of which `steps` divides the rate."""
    augment: Literal["none", "crop-flip"] = "none"
    """`crop-flip` shifts by up to 4 pixels and mirrors at random."""
    adversary: Adversary | None = None
    """The attack inside the training loop; null for standard training."""
    precision: Precision = "float32"
    """`bfloat16` uses autocast, and channels-last on a GPU; weights stay in float32. `auto` uses it where fast."""
    compile: bool = False
    """Whether to compile the network with `torch.compile`, which needs a C++ compiler."""
