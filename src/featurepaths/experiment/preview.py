"""Preview of an experiment before it runs: its networks' layers, the disk space that it needs, and its problems."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from tabulate import tabulate
from torch import nn

from featurepaths.data.size import DataSize
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.external import READ_TO_KNOW, ExternalInputs, fingerprint_inputs
from featurepaths.experiment.feasible import attack_library, check_attacks, needs_attack_library
from featurepaths.experiment.plan import Plan
from featurepaths.experiment.run import Run
from featurepaths.experiment.samples import Sample, correct_in, sample_of
from featurepaths.networks.architectures import missing_layers
from featurepaths.networks.blocks import layer_notes
from featurepaths.networks.chance import chance_in
from featurepaths.networks.external.build import build_external
from featurepaths.networks.forward import layer_shapes, user_name
from featurepaths.networks.resnet import ResNet
from featurepaths.networks.warnings import DOUBTS
from featurepaths.store.hdf5 import open_hdf5


class Layer(NamedTuple):
    """A layer's module, and the shape of its output for one image, features first."""

    name: str
    shape: tuple[int, ...]

    def size(self, pooling: str) -> int:
        """Return how many values its feature has."""
        return self.shape[0] if pooling == "mean" else int(torch.Size(self.shape).numel())


def read(config: Path) -> tuple[Experiment, ExternalInputs]:
    """Return an experiment and its external inputs.

    Raises
    ------
    FeaturePathsError
        If the file is missing or no YAML, the configuration is not valid, or an external input is missing.
    """
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise FeaturePathsError(f"{config} cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise FeaturePathsError(f"{config} holds no configuration.")
    experiment = read_experiment(content, str(config))
    return experiment, fingerprint_inputs(experiment)


def data_size(experiment: Experiment, external: ExternalInputs) -> DataSize:
    """Return the size of the data, as they were read, or of the external inputs.

    Raises
    ------
    FeaturePathsError
        If the size is known only once they are read, and they were not.
    """
    data = Plan(experiment, external).data()
    if data.is_there and data.up_to_date:
        with open_hdf5(data.path) as file:
            images, height, width, channels = file["images"].shape
            return DataSize(images, len(file["class_names"]), height, width, channels)
    if experiment.data.source in READ_TO_KNOW:
        raise FeaturePathsError(
            f"The numbers of images and classes of {experiment.data.source} are known once it is read: "
            "snakemake --cores all --until data --configfile <your configuration>."
        )
    return external.size


class Network(NamedTuple):
    """A network over images in [0, 1], its layers, warnings about it, and notes on its weights, inputs and layers.

    `correct` [n] is whether it is right on each image of a sample; None if there is none, or it takes too long.
    """

    module: nn.Module
    layers: list[Layer]
    warnings: list[str]
    notes: list[str]
    correct: np.ndarray | None

    @property
    def accuracy(self) -> str:
        """Its accuracy in words, empty if it is unknown."""
        if self.correct is None:
            return ""
        return f"right on {100 * self.correct.mean():.1f} % of {len(self.correct)} clean test images"

    @property
    def span(self) -> str:
        """Its layers in words."""
        return f"{len(self.layers)} layers, {self.layers[0].name} to {self.layers[-1].name}"


def network_of(experiment: Experiment, size: DataSize, model: str, sample: Sample | None = None) -> Network:
    """Return the description of a network on data of one size; an external one is built and tried out on a sample.

    Raises
    ------
    FeaturePathsError
        As `build_external` does.
    """
    image_shape = size.channels, size.height, size.width
    pretrained, described = experiment.pretrained(model), experiment.models[model]
    mean, std = [0.0] * size.channels, [1.0] * size.channels
    if pretrained is None:
        network = ResNet(described.architecture, size.classes, described.width, described.stem, mean, std)
        names, warnings, notes, correct = network.layer_names, [], [], None
    else:
        build = {
            **{"factory": pretrained.factory, "arguments": pretrained.arguments, "size": pretrained.size},
            "mean": [float(value) for value in pretrained.mean or mean],
            "std": [float(value) for value in pretrained.std or std],
        }
        weights = pretrained.checkpoint and Path(pretrained.checkpoint)
        key, files = pretrained.checkpoint_key, pretrained.external_files().values()
        network, names, doubts, notes = build_external(
            build, weights, pretrained.layers, image_shape, size.classes, min(experiment.seeds), key, files
        )
        notes += layer_notes(network, names, image_shape)
        warnings, correct = [DOUBTS[doubt] for doubt in doubts], None
        if sample and (correct := correct_in(network, sample)) is not None:
            warnings += filter(None, [chance_in(correct, sample.labels[: len(correct)])])
    shapes = layer_shapes(network, names, image_shape)
    layers = [Layer(user_name(name), shape) for name, shape in zip(names, shapes, strict=True)]
    return Network(network, layers, warnings, notes, correct)


def layer_table(model: str, layers: Sequence[Layer]) -> str:
    """Return the layers of a network as a table in plain text."""
    rows = [
        (number, layer.name, "x".join(map(str, layer.shape)), f"{layer.size('flatten'):,}", f"{layer.size('mean'):,}")
        for number, layer in enumerate(layers, start=1)
    ]
    align = ["right", "left", "left", "right", "right"]
    return tabulate(rows, [model, "module", "shape", "flatten", "mean"], disable_numparse=True, colalign=align)


def dump_bytes(experiment: Experiment, size: DataSize, model: str, layers: Sequence[Layer]) -> int:
    """Return how many bytes the feature dumps of all runs of a network take at most: two a value."""
    plan = Plan(experiment, ExternalInputs(networks={model: {} for model in experiment.models}))
    attacked = sum(
        min(2 * (attack.max_images or size.images), size.images) * len(plan.examples(name))
        for name, attack in experiment.attacks.items()
    )
    values = sum(layer.size(pooling) for layer in layers for pooling in plan.poolings)
    return 2 * values * (size.images + attacked) * sum(Run.parse(run).model == model for run in plan.runs)


def disk_space(experiment: Experiment, size: DataSize, layers: Mapping[str, Sequence[Layer]]) -> str:
    """Return in words the disk space that feature dumps need, by the layers of each network, and the free space.

    Raises
    ------
    FeaturePathsError
        If they need more.
    """
    if experiment.features.storage == "stream":
        return "features are streamed: nothing is dumped"
    required = sum(dump_bytes(experiment, size, model, selected) for model, selected in layers.items())
    free = shutil.disk_usage(Path.cwd()).free
    text = f"feature dumps need at most {required / 1e9:.2f} GB; {free / 1e9:.0f} GB are free"
    if required > free:
        raise FeaturePathsError(f"{text}. Take features: {{storage: stream}}, other poolings, or fewer images.")
    return text


def checks(experiment: Experiment, external: ExternalInputs) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the checks before anything runs: a name, and a function that describes the valid result.

    The functions raise FeaturePathsError if something is wrong.
    """
    yield "device", lambda: _device(experiment)
    if needs_attack_library(experiment):
        yield "torchattacks", attack_library
    size: list[DataSize] = []
    samples: list[Sample | None] = []
    layers: dict[str, list[Layer]] = {}

    def data() -> str:
        try:
            size.append(data_size(experiment, external))
        except FeaturePathsError as error:
            if experiment.data.source not in READ_TO_KNOW:
                raise
            return str(error)  # nothing is wrong: more can be checked then
        with redirect_stdout(StringIO()) as printed:
            samples.append(sample_of(experiment.data, Plan(experiment, external).data()))
        text = f"{size[0].images:,} images of {size[0].classes} classes, {size[0].height}x{size[0].width} pixels"
        return text + re.sub("\n(Note|Warning): ", _as_line, f"\n{printed.getvalue()}".rstrip())

    def network(model: str) -> str:
        description = network_of(experiment, size[0], model, *samples)
        layers[model] = description.layers
        _check_numbers(experiment, len(description.layers))
        lines = ["; ".join(filter(None, [description.span, description.accuracy]))]
        lines += [f"NOTE     models.{model}: {note}" for note in description.notes]
        lines += [f"WARNING  models.{model}: {warning}" for warning in description.warnings]
        return "\n".join(lines)

    yield "data", data
    if not size:
        return
    yield "attacks", lambda: check_attacks(experiment, size[0])
    for model in experiment.models:
        yield f"models.{model}", lambda model=model: network(model)
    if len(layers) == len(experiment.models):
        yield "disk", lambda: disk_space(experiment, size[0], layers)


def _as_line(label: re.Match[str]) -> str:
    """Return the beginning of a line about the data, in the form of `checks`."""
    return f"\n{label[1].upper():<8} data: "


def _device(experiment: Experiment) -> str:
    has_gpu = torch.cuda.is_available()
    if experiment.device == "cuda" and not has_gpu:
        raise FeaturePathsError("device: cuda, and torch finds no GPU here. Set device: auto.")
    return torch.cuda.get_device_name() if has_gpu and experiment.device != "cpu" else "networks run on the CPU"


def _check_numbers(experiment: Experiment, count: int) -> None:
    """Raise FeaturePathsError if the configuration names layers that a network of `count` does not have."""
    for problem in missing_layers(experiment.named_layers, count, "the network"):
        raise FeaturePathsError(f"{problem}.")
