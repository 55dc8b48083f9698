"""The settings of every stage: the part of the configuration that it depends on.

The plan fills them from the sections of the configuration, `--settings` carries them as JSON, and the stage reads them
with the same class.
"""

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from featurepaths.experiment.config.attacks import AnyAttack, Ball
from featurepaths.experiment.config.data import AnyData
from featurepaths.experiment.config.evaluation import AdaptiveSearch, Controls
from featurepaths.experiment.config.networks import Model, PretrainedNetwork, Training
from featurepaths.experiment.config.types import Detector, Exact, Section, Weights

Protocol = Literal["paper", "held-out"]


class OnNetwork(Section):
    """Settings of every stage that runs a network; `streamed_classes` has no others."""

    torch_threads: int = 1


class Data(Section):
    """The data set, and a digest of the files or the code of the user's that it comes from."""

    data: AnyData
    contents: str | None = None


class Train(OnNetwork):
    """A network, how it is trained, and the seed."""

    model: Model
    training: Training
    seed: int
    in_memory_mb: int = 1024
    not_in_digest: ClassVar = ("in_memory_mb",)


class Pretrained(OnNetwork):
    """A pretrained network, digests of its code and files, and the number of layers that configuration keys need."""

    model: PretrainedNetwork
    seed: int
    code: str
    weights: str | None
    named_layers: dict[str, int] = {}
    not_in_digest: ClassVar = ("named_layers",)


class Attack(OnNetwork):
    """An attack, its seed in this run, and a digest of precomputed images."""

    attack: AnyAttack
    seed: int
    contents: str | None = None


class Images(OnNetwork):
    """The stopping rule whose examples a network runs over; None for the images of a split."""

    stopping_rule: str | None = None


class LayerChoice(Section):
    """Layers and their weights; ``layers: auto`` needs the key `needed_by_auto`."""

    protocol: Protocol
    layers: Literal["auto"] | list[int]
    weights: Weights
    needed_by_auto: ClassVar[str]

    @model_validator(mode="after")
    def _auto_has_its_key(self):
        if self.layers == "auto" and getattr(self, self.needed_by_auto) is None:
            raise ValueError(f"layers: auto needs {self.needed_by_auto}")
        return self


class Threshold(LayerChoice):
    """Settings that calibrate the thresholds of the feature-path detector; `pfc3_threshold` is for ``layers: auto``."""

    false_positive_rates: list[Exact] = []
    pfc3_threshold: Exact | None = None
    needed_by_auto: ClassVar = "pfc3_threshold"


class Selection(LayerChoice):
    """How the voting layers are selected; `top` is for ``layers: auto``."""

    top: int | None = None
    needed_by_auto: ClassVar = "top"


class Recognition(Section):
    """How ties are broken, and which layers' combinations are tried."""

    tie_break: str
    combinations: Literal["auto"] | list[int]


class Detectors(OnNetwork):
    """The rival detectors, and how they are calibrated; the stopping rule is for streamed features."""

    detectors: list[Detector]
    false_positive_rates: list[Exact]
    stopping_rule: str | None = None


class DetectorEvaluation(OnNetwork):
    """For streamed features the names ``<attack>.<stopping_rule>`` of the attacks on calibration and test images."""

    calibrated: list[str] | None = None
    attacked: list[str] | None = None


class Adaptive(OnNetwork):
    """A search against a frozen defence, and the ball in which it searches."""

    search: AdaptiveSearch
    ball: Ball
    tie_break: str
    seed: int


class WorstCase(Section):
    """The attack, search and ball that describe a worst case."""

    attack: str
    search: AdaptiveSearch
    ball: Ball


class ControlsOfAdaptive(Adaptive):
    """The controls of a search that starts from the examples of an attack."""

    attack: str
    controls: Controls


class RunFigures(Section):
    """The title of a run's figures."""

    title: str


class SummaryFigures(Section):
    """When a layer counts as collapsed."""

    pfc3_threshold: Exact


class Tables(Section):
    """Attacks like the paper's, the stopping rules of all, and which of them are repetitions of which."""

    paper_attacks: list[str]
    stopping_rules: dict[str, list[str]]
    groups: dict[str, str]


class Comparison(Section):
    """Which attacks are repetitions of which."""

    groups: dict[str, str]


class ComparisonFigures(Section):
    """The attack on which detectors are calibrated, and its norm and radius in words."""

    calibrated_on: str
    budget: str


class Explorer(Section):
    """Norm and radius in words: of every attack, and of adaptive attacks if there are any."""

    budgets: dict[str, str]
    adaptive_budget: str | None


class Configuration(Section):
    """The whole configuration, and a digest of all results."""

    configuration: dict[str, Any]
    results: str
