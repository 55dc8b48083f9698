"""`featurepaths new`: a configuration from the properties of network, weights, data and machine."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment import preview
from featurepaths.experiment.config.attacks import Attack
from featurepaths.experiment.config.messages import read_section
from featurepaths.experiment.feasible import check_attacks
from featurepaths.experiment.proposal.config import Proposal, machine
from featurepaths.experiment.proposal.data import flow, propose_data
from featurepaths.experiment.proposal.estimate import measure
from featurepaths.experiment.proposal.network import external_network, own_network, stated_size
from featurepaths.experiment.proposal.numbers import MINUTES, few_images, free_space
from featurepaths.experiment.proposal.requests import data_section, name_from, network_section
from featurepaths.experiment.samples import Look
from featurepaths.runtime.blocks import BLOCK
from featurepaths.store.atomic import atomic


@dataclass
class Request:
    """The words of the command line; see `featurepaths.experiment.proposal.requests`."""

    file: Path
    network: str | None
    checkpoint: str | None
    data: Sequence[str]
    eps: str

    @property
    def command(self) -> str:
        """The command that makes this request."""
        options = {"network": [self.network], "checkpoint": [self.checkpoint], "data": self.data, "eps": [self.eps]}
        words = [word for key, values in options.items() if values != [None] for word in (f"--{key}", *values)]
        return " ".join(shlex.join(["featurepaths", "new", str(self.file), *words]).split())

    @property
    def model(self) -> str:
        """The name of the network in the configuration."""
        if self.network is None:
            return "resnet18"
        return "network" if self.network.lstrip().startswith("{") else name_from(self.network)


def create(request: Request, *, force: bool = False) -> Iterator[str]:
    """Write a configuration, and yield lines about the findings.

    Raises
    ------
    FeaturePathsError
        If the file exists and `force` is false, or network, weights and data cannot be used together. Nothing is
        written then.
    """
    file = request.file
    if file.exists() and not force:
        raise FeaturePathsError(f"{file} exists. Name another file, or add --force to overwrite it.")
    if request.checkpoint and not request.network:
        raise FeaturePathsError("--checkpoint needs --network, the function that builds the network of these weights.")
    radius = "".join(request.eps.split())
    eps = read_section(Attack, {"eps": radius}, "--eps").eps
    section = network_section(request.network, request.checkpoint) if request.network else None
    data = propose_data(data_section(request.data), lambda classes: section and stated_size(section, classes))
    size = data.look.size
    yield f"data      {data.contents}"
    yield from (f"{kind.upper():<9} {text}" for kind, _, text in (note.partition(": ") for note in data.notes))

    if section:
        network = external_network(section, size)
    else:
        network = own_network(size.images, yaml.safe_load(radius), gpu=torch.cuda.is_available())
    name = name_from(file.stem)
    proposal = Proposal(request.command, shlex.quote(str(file)), name, radius, data, request.model, network)
    draft = proposal.experiment
    try:
        built = preview.network_of(
            draft, size, request.model, data.look.sample if data.look.sample.labels.size else None
        )
    except FeaturePathsError as error:
        keys = f" To set other keys: --network '{flow(section)}', with them added." if section else ""
        raise FeaturePathsError(f"{error}{keys}") from error
    yield f"network   {request.network or 'resnet18 of this workflow, which trains it'}: {built.span}"
    yield from (f"input     {remark}" for remark in [*network.remarks.values(), *network.further])
    yield from (f"weights   {note}" for note in built.notes)
    yield f"accuracy  {built.accuracy or ('unknown before it is trained' if section is None else 'not measured')}"

    proposal.fit(built, measure(built.module, *_images(data.look), float(eps)))
    check_attacks(proposal.experiment, size)
    for warning in [*built.warnings, *network.warnings, *_warnings(proposal)]:
        yield f"WARNING   {warning}"
    yield f"time      about {proposal.duration} on {machine()}, by estimate"
    yield f"disk      about {proposal.disk}, by estimate; {free_space() / 1e9:.0f} GB are free"
    with atomic(file) as temporary:
        temporary.write_text(proposal.text, encoding="utf-8")
    yield f"written   {file}"
    yield f"next      featurepaths run {proposal.file}"


def _images(look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Return up to a block of images and labels of the sample, or noise if there is none."""
    if len(look.sample.labels):
        return look.sample.images[:BLOCK], look.sample.labels[:BLOCK]
    shape, generator = (BLOCK, look.size.height, look.size.width, look.size.channels), np.random.default_rng(0)
    return generator.integers(0, 256, shape, np.uint8), np.arange(BLOCK) % look.size.classes


def _warnings(proposal: Proposal) -> Iterator[str]:
    """Yield warnings about numbers, time and disk space, and a library that is missing."""
    yield from few_images(proposal.data.look.counts)
    if proposal.seconds > 60 * MINUTES:
        yield f"it takes more than {MINUTES} minutes with the smallest numbers of images that are proposed"
    if proposal.bytes > free_space():
        yield "the free disk space does not suffice"
    if not proposal.queries:
        yield (
            "torchattacks is not installed, so the black-box control is left out. To have it: "
            "pip install --no-deps torchattacks==3.5.1"
        )
