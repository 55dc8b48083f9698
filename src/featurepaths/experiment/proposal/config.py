"""The text of a proposed configuration: a template, filled with findings and with numbers that fit the machine."""

from dataclasses import dataclass

import torch
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.preview import Layer, Network, dump_bytes
from featurepaths.experiment.proposal.data import ProposedData, flow
from featurepaths.experiment.proposal.estimate import RESISTING, Speed, cores, seconds_of, with_memory
from featurepaths.experiment.proposal.network import ProposedNetwork
from featurepaths.experiment.proposal.numbers import LADDER, Numbers, flatten_fits, free_space, largest_that_fits
from featurepaths.store.code_digest import library_version

GREATEST_SHARDS = 8
STORAGE = {"store": 0.1, "temporary": 0.5}
"""Where features are stored, by the share of the free disk space that they may take there; else they are streamed."""


@dataclass
class Proposal:
    """Values for the template `config.yaml.jinja`.

    `model` is the name of the network, `name` that of the experiment, and `file` is quoted for a shell.
    """

    command: str
    file: str
    name: str
    eps: str
    data: ProposedData
    model: str
    network: ProposedNetwork
    layers: str = ""
    numbers: Numbers = LADDER[0]
    poolings: tuple[str, ...] = ("flatten", "mean")
    pooled: str = ""
    storage: str = "store"
    shards: int = 1
    seconds: float = 0
    bytes: float = 0

    @property
    def text(self) -> str:
        """The configuration as a commented YAML file."""
        environment = Environment(
            loader=PackageLoader(__package__, ""),
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["yaml"] = flow
        return environment.get_template("config.yaml.jinja").render(it=self, machine=machine())

    @property
    def queries(self) -> int:
        """Queries of the black-box control, which needs torchattacks: none if it is not installed."""
        return 0 if library_version("torchattacks") == "absent" else 100

    @property
    def experiment(self) -> Experiment:
        """The configuration, checked and typed."""
        return read_experiment(yaml.safe_load(self.text), "the proposed configuration")

    @property
    def duration(self) -> str:
        """The estimated time in words."""
        minutes = max(1, round(self.seconds / 60))
        return f"{minutes} minute{'s' * (minutes > 1)}" if minutes < 100 else f"{minutes / 60:.1f} hours"

    @property
    def disk(self) -> str:
        """The estimated disk space in words."""
        return f"{self.bytes / 1e9:.1g} GB" if self.bytes < 1e10 else f"{self.bytes / 1e9:.0f} GB"

    def fit(self, built: Network, speed: Speed) -> None:
        """Choose poolings, storage, shards and numbers of images, and estimate time and disk space.

        The choice assumes the same share of resisting images for every network; the estimate uses the measured one.
        """
        size = self.data.look.size
        self.layers = built.span
        speed = with_memory(speed, self.experiment, size)
        self.shards = max(1, min(GREATEST_SHARDS, speed.lanes // max(1, len(self.network.training))))
        dump_size = self._dumps(built.layers)
        if flatten_fits(built.layers, size, dump_size):
            self.pooled = "flatten uses every value of a layer, as the paper does; mean the average of each channel."
        else:
            self.poolings = ("mean",)
            self.pooled = (
                f"mean: the average of each channel. flatten, the paper's reading, would take {dump_size / 1e9:.0f} GB "
                "of disk space, or storage: stream."
            )
        assumed = speed._replace(resisting=RESISTING[True])
        self.numbers = largest_that_fits(
            lambda numbers: self._seconds(numbers, built.layers, assumed), self.data.look.counts["test"]
        )
        dumps = self._dumps(built.layers)
        self.storage = next((kind for kind, share in STORAGE.items() if dumps <= share * free_space()), "stream")
        self.seconds = self._seconds(self.numbers, built.layers, speed)
        self.bytes = self._bytes(0 if self.storage == "stream" else dumps)

    def _seconds(self, numbers: Numbers, layers: list[Layer], speed: Speed) -> float:
        self.numbers = numbers
        look = self.data.look
        return seconds_of(self.experiment, look.counts, look.size, layers, speed)

    def _dumps(self, layers: list[Layer]) -> int:
        return dump_bytes(self.experiment, self.data.look.size, self.model, layers)

    def _bytes(self, dumps: int) -> float:
        """Return the bytes of feature dumps, of the images, and of adversarial images in float32."""
        counts, size = self.data.look.counts, self.data.look.size
        attacked = sum(min(self.numbers.attacked, counts[split]) for split in ("calibration", "test"))
        adversarial = 2 * attacked + self.numbers.adaptive
        values = size.height * size.width * size.channels
        return dumps + values * (size.images + 4 * adversarial * max(1, len(self.network.training)))


def machine() -> str:
    """Return what networks run on, in words."""
    if count := torch.cuda.device_count():
        return f"{count} x {torch.cuda.get_device_name()}"
    return f"{cores()} cores"
