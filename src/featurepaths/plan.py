"""What every job of an experiment is given: its settings, and the cumulative digest of its work.

The rules ask the plan; nothing else does. Files are named as in the results' folder: a run is
``<model>-<training>-s<seed>``, images are a split or ``<split>.<attack>.<keep>``, and a calibration is ``held-out`` or
``paper.<attack>.<keep>`` (the paper calibrates on the very images it tests on, so every attack has its own).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

from featurepaths.config import Experiment
from featurepaths.digests import artefact_digest, digest_of
from featurepaths.image_folder import listing_digest

once = lru_cache(maxsize=None)
NOT_OF_THE_DATA = ("root", "download", "title", "stands_for")
"""What the configuration says of a data set beside what is in it."""


@dataclass(frozen=True, eq=False)
class Artefact:
    """What a call of a stage makes: its name within the run, the settings, the inputs in the order of the arguments."""

    stage: str
    name: str
    settings: Mapping[str, Any]
    inputs: tuple["Artefact", ...] = ()

    @cached_property
    def job_digest(self) -> str:
        """The cumulative digest of the call, the same for everything that it makes."""
        return digest_of(self.stage, self.settings, [artefact.digest for artefact in self.inputs])

    @cached_property
    def digest(self) -> str:
        """The cumulative digest of the artefact, as its file holds it."""
        return artefact_digest(self.job_digest, self.name)

    @property
    def params(self) -> dict[str, str]:
        """What the rule passes on: the settings as JSON, and the digest."""
        return {"settings": json.dumps(self.settings, sort_keys=True), "digest": self.job_digest}


class Plan:
    """All artefacts of an experiment."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.config = experiment.model_dump(mode="json")
        self.poolings = sorted(experiment.features.poolings)
        self.splits = ["train", "calibration", "test"] if "held-out" in experiment.protocols else ["train", "test"]
        self.runs = [
            f"{model}-{training}-s{seed}"
            for model in experiment.models
            for training in experiment.training
            for seed in sorted(experiment.seeds)
        ]
        self.attacked = [attacked for attack in experiment.attacks for attacked in self.kept(attack)]

    def kept(self, attack: str) -> list[str]:
        """Return ``<attack>.<keep>`` of every stopping rule that an attack keeps."""
        return [f"{attack}.{keep}" for keep in self._keeps(attack)]

    def epochs(self, run: str) -> int:
        """Return how many epochs a run trains."""
        return self.experiment.training[self._parts(run)[1]].epochs

    def calibration_images(self, calibration: str) -> tuple[str, str]:
        """Return the names of the clean and of the attacked images that a calibration sees."""
        if calibration == "held-out":
            chosen = self.experiment.calibration
            return "calibration", f"calibration.{chosen.attack}.{chosen.keep}"
        return "test", f"test.{calibration.removeprefix('paper.')}"

    def calibrations(self, attacked: str) -> list[str]:
        """Return the calibrations, one a protocol, that are tested on ``<attack>.<keep>``."""
        return [f"paper.{attacked}" if protocol == "paper" else protocol for protocol in self.experiment.protocols]

    @once
    def data(self) -> Artefact:
        """The data set; where it lies does not count.

        Raises
        ------
        FeaturePathsError
            If it is a folder of images that is not there, or holds something else.
        """
        data = self.config["data"]
        settings = {key: value for key, value in data.items() if key not in NOT_OF_THE_DATA}
        if data["source"] == "folder":
            settings["listing"] = listing_digest(data["root"])
        return Artefact("data", "data", settings)

    @once
    def train(self, run: str) -> Artefact:
        """A run's checkpoint."""
        model, training, seed = self._parts(run)
        settings = {
            "model": self.config["models"][model],
            "training": self.config["training"][training],
            "seed": seed,
            "torch_threads": self.config["torch_threads"],
        }
        return Artefact("train", "checkpoint", settings, (self.data(),))

    @once
    def attack(self, run: str, split: str, attack: str) -> Artefact:
        """An attack on a run's network."""
        settings = self.config["attacks"][attack] | {"keep": self._keeps(attack)}
        settings |= {"seed": self._parts(run)[2], "torch_threads": self.config["torch_threads"]}
        return Artefact("attack", f"attacks/{split}.{attack}", settings, (self.train(run), self.data()))

    @once
    def features(self, run: str, pooling: str, images: str) -> Artefact:
        """Layer features of some images; one call makes all poolings, and all splits together."""
        settings = {"torch_threads": self.config["torch_threads"]}
        source = self.data()
        if images not in self.splits:
            split, attack, settings["keep"] = images.split(".")
            source = self.attack(run, split, attack)
        return Artefact("features", f"features/{pooling}/{images}", settings, (self.train(run), source))

    @once
    def centroids(self, run: str, pooling: str) -> Artefact:
        """Class centroids of a run."""
        return Artefact("centroids", f"centroids/{pooling}", {}, (self.features(run, pooling, "train"),))

    @once
    def paths(self, run: str, pooling: str, images: str) -> Artefact:
        """Feature paths of some images."""
        inputs = self.features(run, pooling, images), self.centroids(run, pooling)
        return Artefact("paths", f"paths/{pooling}/{images}", {}, inputs)

    @once
    def collapse(self, run: str, pooling: str) -> Artefact:
        """Collapse metrics of a run."""
        return Artefact("collapse", f"collapse/{pooling}", {}, (self.features(run, pooling, "train"),))

    @once
    def threshold(self, run: str, pooling: str, calibration: str) -> Artefact:
        """A detector's layers, weights and thresholds."""
        detection = self.config["detection"]
        protocol = calibration.split(".")[0]
        settings = {"protocol": protocol, "layers": detection["layers"], "weights": detection["weights"]}
        if protocol == "held-out":
            settings["false_positive_rate"] = detection["false_positive_rate"]
        inputs = [self.paths(run, pooling, images) for images in self.calibration_images(calibration)]
        if detection["layers"] == "auto":
            settings["pfc3"] = self.config["collapse"]["pfc3"]
            inputs.append(self.collapse(run, pooling))
        return Artefact("threshold", f"thresholds/{pooling}/feature-paths.{calibration}", settings, tuple(inputs))

    @once
    def selection(self, run: str, pooling: str, calibration: str) -> Artefact:
        """The voting layers."""
        recognition = self.config["recognition"]
        settings = {"protocol": calibration.split(".")[0], **{key: recognition[key] for key in ("layers", "weights")}}
        if recognition["layers"] == "auto":
            settings["top"] = recognition["top"]
        _, attacked = self.calibration_images(calibration)
        inputs = (self.paths(run, pooling, attacked),)
        return Artefact("selection", f"selection/{pooling}/{calibration}", settings, inputs)

    @once
    def detection(self, run: str, pooling: str, attacked: str) -> Artefact:
        """Detection metrics and scores of ``<attack>.<keep>``, by every calibration."""
        thresholds = [self.threshold(run, pooling, calibration) for calibration in self.calibrations(attacked)]
        inputs = *thresholds, *self._tested(run, pooling, attacked)
        return Artefact("detection", f"detection/{pooling}/feature-paths.{attacked}", {}, inputs)

    @once
    def recognition(self, run: str, pooling: str, attacked: str) -> Artefact:
        """Recognition metrics and labels of ``<attack>.<keep>``, by every calibration."""
        settings = {key: self.config["recognition"][key] for key in ("tie", "combinations")}
        calibrations = self.calibrations(attacked)
        thresholds = [self.threshold(run, pooling, calibration) for calibration in calibrations]
        selections = [self.selection(run, pooling, calibration) for calibration in calibrations]
        inputs = *thresholds, *selections, *self._tested(run, pooling, attacked)
        return Artefact("recognition", f"recognition/{pooling}/feature-paths.{attacked}", settings, inputs)

    @once
    def run_figures(self, run: str, pooling: str, attack: str) -> Artefact:
        """Figures of a run, pooling and attack."""
        model, training, seed = self._parts(run)
        settings = {"title": f"{model}, {training} training, seed {seed}\n{pooling} features, attack {attack}"}
        kept = self.kept(attack)
        paths = [self.paths(run, pooling, name) for name in ("test", *(f"test.{attacked}" for attacked in kept))]
        detection = [self.detection(run, pooling, attacked) for attacked in kept]
        recognition = [self.recognition(run, pooling, attacked) for attacked in kept]
        inputs = self.data(), *paths, *detection, *detection, *recognition  # metrics, then records of detection
        return Artefact("run_figures", "figures", settings, inputs)

    @once
    def summary_figures(self) -> Artefact:
        """Figures over all runs."""
        collapse = [self.collapse(run, pooling) for run, pooling in self._runs_and_poolings()]
        inputs = *map(self.train, self.runs), *collapse
        return Artefact("summary_figures", "figures", {"pfc3": self.config["collapse"]["pfc3"]}, inputs)

    @once
    def tables(self) -> Artefact:
        """All tables."""
        settings = {
            "paper_attacks": self._papers_attacks(),
            "keep": {attack: self._keeps(attack) for attack in self.experiment.attacks},
        }
        attacks = [self.attack(run, "test", attack) for run in self.runs for attack in self.experiment.attacks]
        both = self._runs_and_poolings()
        detection = [self.detection(*one, attacked) for one in both for attacked in self.attacked]
        recognition = [self.recognition(*one, attacked) for one in both for attacked in self.attacked]
        collapse = [self.collapse(*one) for one in both]
        inputs = *map(self.train, self.runs), *attacks, *detection, *recognition, *collapse
        return Artefact("tables", "tables", settings, inputs)

    @once
    def configuration(self) -> Artefact:
        """The record of the configuration; it is made again when any stage's code or library changes."""
        attacks = self.experiment.attacks
        figures = [self.run_figures(*one, attack) for one in self._runs_and_poolings() for attack in attacks]
        return Artefact("configuration", "config", self.config, (self.tables(), self.summary_figures(), *figures))

    def _keeps(self, attack: str) -> list[str]:
        return sorted(self.experiment.attacks[attack].keep)

    def _papers_attacks(self) -> list[str]:
        """Return the attacks that the paper's numbers may stand beside: on CIFAR-10, L-infinity, 8/255."""
        data = self.experiment.data
        if "cifar10" not in (data.source, getattr(data, "stands_for", None)):
            return []
        attacks = self.experiment.attacks.items()
        return sorted(name for name, attack in attacks if attack.norm == "linf" and attack.eps == Fraction(8, 255))

    def _runs_and_poolings(self) -> list[tuple[str, str]]:
        return [(run, pooling) for run in self.runs for pooling in self.poolings]

    def _tested(self, run: str, pooling: str, attacked: str) -> tuple[Artefact, Artefact]:
        return self.paths(run, pooling, "test"), self.paths(run, pooling, f"test.{attacked}")

    @staticmethod
    def _parts(run: str) -> tuple[str, str, int]:
        model, training, seed = run.split("-")
        return model, training, int(seed.removeprefix("s"))
