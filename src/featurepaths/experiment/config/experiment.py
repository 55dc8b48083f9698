"""The configuration of an experiment, and the checks across its sections."""

import json
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    model_validator,
)

from featurepaths.experiment.config.attacks import AnyAttack
from featurepaths.experiment.config.data import AnyData
from featurepaths.experiment.config.evaluation import (
    Adaptive,
    CalibrationAttack,
    Collapsed,
    Detection,
    Features,
    Recognition,
    Shards,
)
from featurepaths.experiment.config.networks import PRETRAINED, AnyModel, PretrainedNetwork, Training
from featurepaths.experiment.config.types import Detector, Name, Objective, Section, distinct
from featurepaths.networks.architectures import layer_count, missing_layers


class Experiment(Section):
    """Everything an experiment depends on."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
    """Name of the experiment's folder in `results/`."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1), AfterValidator(distinct)] = [0]
    """Each seed trains and attacks every network once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device on which networks run; `auto` uses a GPU where there is one."""
    torch_threads: int = Field(1, ge=1)
    """Threads of each job that runs a network. Affects the numbers: more threads sum in another order."""
    in_memory_mb: int = Field(1024, ge=0)
    """Training images up to this many MB are held in memory, or on the GPU; larger sets are read batch by batch, with
    the same results."""
    shards: Shards = Shards()
    """Number of jobs per attack and extraction; changes no result."""
    data: AnyData
    models: Annotated[dict[Name, AnyModel], Field(min_length=1)]
    training: dict[Name, Training] = {}
    """Every model that is not pretrained is trained in each of these ways. Required if there is such a model."""
    attacks: Annotated[dict[Name, AnyAttack], Field(min_length=1)]
    calibration: CalibrationAttack | None = None
    """Required unless `data.calibration` is 0."""
    features: Features = Features()
    collapse: Collapsed = Collapsed()
    detection: Detection = Detection()
    recognition: Recognition = Recognition()
    detectors: Annotated[list[Detector], AfterValidator(distinct)] = []
    """Rival detectors, compared with the paper's on the same features. With `adaptive`, each is attacked itself.
    They need calibration images."""
    adaptive: Adaptive | None = None
    """null runs no adaptive attacks; only the networks are attacked."""

    @property
    def protocols(self) -> list[str]:
        """The protocols that the data support: `held-out` needs calibration images."""
        return ["paper", "held-out"] if self.data.calibration > 0 else ["paper"]

    @model_validator(mode="after")
    def _parts_fit_together(self):
        self._check_training()
        self._check_calibration()
        self._check_layers()
        for section in ("detection", "recognition"):
            self._check_weights(section, getattr(self, section))
        self._check_adaptive()
        return self

    @property
    def adaptive_poolings(self) -> list[str]:
        """The poolings whose defences are attacked, sorted; none without `adaptive`."""
        return [] if self.adaptive is None else sorted(self.adaptive.poolings or self.features.poolings)

    @property
    def calibrated(self) -> list[str]:
        """The attacks with examples of calibration images: all except precomputed ones without a calibration file."""
        return [
            name
            for name, attack in self.attacks.items()
            if attack.method != "precomputed" or attack.calibration is not None
        ]

    @property
    def detectors_are_tested(self) -> bool:
        """Whether detectors are compared: where rival detectors are named, or adaptive attacks target the paper's."""
        return bool(self.detectors) or self.adaptive is not None

    @property
    def named_layers(self) -> dict[str, int]:
        """The number of layers that a network needs, by the key that requires it."""
        named = {
            "detection.layers": self.detection.layers,
            "recognition.layers": self.recognition.layers,
            "recognition.combinations": self.recognition.combinations,
        }
        highest = {key: max(layers) for key, layers in named.items() if layers != "auto" and layers}
        if "top" in self.recognition.model_fields_set:
            highest["recognition.top"] = self.recognition.top
        return highest

    def pretrained(self, model: str) -> PretrainedNetwork | None:
        """Return the section of a pretrained model; None for a model that is trained here."""
        section = self.models[model]
        return section if isinstance(section, PretrainedNetwork) else None

    def _check_training(self) -> None:
        trained = [name for name in self.models if self.pretrained(name) is None]
        if trained and not self.training:
            raise ValueError(f"training: missing; add a section that trains models.{trained[0]}")
        if self.training and not trained:
            raise ValueError("training: all models are pretrained; remove this section")
        if PRETRAINED in self.training and len(trained) < len(self.models):
            raise ValueError(f"training.{PRETRAINED}: this name is reserved for pretrained models; choose another name")

    def _check_calibration(self) -> None:
        if self.data.calibration == 0:
            return
        if self.calibration is None:
            raise ValueError(
                "calibration: missing; name the attack and stopping_rule to calibrate on, or set data.calibration: 0"
            )
        name, stopping_rule = self.calibration.attack, self.calibration.stopping_rule
        if name not in self.attacks:
            raise ValueError(f"calibration.attack: '{name}' is not one of attacks ({', '.join(self.attacks)})")
        if stopping_rule not in self.attacks[name].stopping_rule:
            raise ValueError(f"calibration.stopping_rule: '{stopping_rule}' is not one of attacks.{name}.stopping_rule")
        if name not in self.calibrated:
            raise ValueError(
                f"calibration.attack: attacks.{name} has no calibration file; add one with adversarial examples of "
                "calibration images"
            )

    def _check_adaptive(self) -> None:
        for key, present in (("detectors", bool(self.detectors)), ("adaptive", self.adaptive is not None)):
            if present and self.data.calibration == 0:
                raise ValueError(f"{key}: needs calibration images, because only a held-out defence can be evaluated")
        if self.adaptive is None:
            return
        name = self.adaptive.attack
        if name not in self.attacks:
            raise ValueError(f"adaptive.attack: '{name}' is not one of attacks ({', '.join(self.attacks)})")
        if self.attacks[name].method != "apgd":
            raise ValueError(f"adaptive.attack: '{name}' is not an AutoPGD attack; name one that is")
        if problem := self.attacks[name].too_far(self.adaptive.step):
            raise ValueError(f"adaptive.step: {problem}")
        if name in (*get_args(Objective), "misclassify"):
            raise ValueError(f"adaptive.attack: '{name}' is the name of an adaptive objective; rename the attack")
        missing = sorted(set(self.adaptive.poolings or []) - set(self.features.poolings))
        if missing:
            raise ValueError(f"adaptive.poolings: '{missing[0]}' is not one of features.poolings")

    def _check_layers(self) -> None:
        for name, model in self.models.items():
            if not self.pretrained(name):  # whose layers are not known yet
                for problem in missing_layers(self.named_layers, layer_count(model.architecture), f"models.{name}"):
                    raise ValueError(problem)

    def _check_weights(self, section: str, settings: Detection | Recognition) -> None:
        if settings.weights == "equal":
            return
        if settings.layers == "auto" or len(settings.weights) != len(settings.layers):
            raise ValueError(f"{section}.weights: a list needs {section}.layers to be a list of the same length")
        if sum(settings.weights) != 1 or min(settings.weights) < 0:
            raise ValueError(f"{section}.weights: should be at least 0 and sum to 1, not to {sum(settings.weights)}")


if __name__ == "__main__":
    print(json.dumps(Experiment.model_json_schema(), indent=2))
