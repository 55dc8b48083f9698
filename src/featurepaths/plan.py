"""What every job of an experiment is given: its settings, and the cumulative digest of what it will make.

The rules ask the plan; nothing else does. Files are named as in the results' folder: a run is
``<model>-<training>-s<seed>``, images are a split or ``<split>.<attack>.<keep>``, and a calibration is ``held-out`` or
``paper.<attack>.<keep>`` (the paper calibrates on the very images it tests on, so every attack has its own).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from featurepaths.config import Experiment
from featurepaths.digests import digest_of

once = lru_cache(maxsize=None)


@dataclass(frozen=True)
class Job:
    """One call of a stage: its settings, and the jobs that make its inputs, in the order of its arguments."""

    stage: str
    settings: Mapping[str, Any]
    inputs: tuple["Job", ...] = ()

    @cached_property
    def digest(self) -> str:
        """The cumulative digest of what the job makes."""
        return digest_of(self.stage, self.settings, [job.digest for job in self.inputs])

    @property
    def params(self) -> dict[str, str]:
        """What the job's rule passes on: the settings as JSON, and the digest."""
        return {"settings": json.dumps(self.settings, sort_keys=True), "digest": self.digest}

    def __hash__(self) -> int:
        return id(self)


class Plan:
    """The jobs of an experiment, by what they make."""

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
        self.attacked = [f"{attack}.{keep}" for attack in experiment.attacks for keep in self._keeps(attack)]

    def _keeps(self, attack: str) -> list[str]:
        return sorted(self.experiment.attacks[attack].keep)

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
    def data(self) -> Job:
        """The data set; where it lies does not count."""
        settings = {key: value for key, value in self.config["data"].items() if key not in ("root", "download")}
        return Job("data", settings)

    @once
    def train(self, run: str) -> Job:
        """A run's checkpoint."""
        model, training, seed = self._parts(run)
        settings = {
            "model": self.config["models"][model],
            "training": self.config["training"][training],
            "seed": seed,
            "torch_threads": self.config["torch_threads"],
        }
        return Job("train", settings, (self.data(),))

    @once
    def attack(self, run: str, attack: str) -> Job:
        """An attack on a run's network; which of its stopping rules are evaluated does not count."""
        settings = {key: value for key, value in self.config["attacks"][attack].items() if key != "keep"}
        settings |= {"seed": self._parts(run)[2], "torch_threads": self.config["torch_threads"]}
        return Job("attack", settings, (self.train(run), self.data()))

    @once
    def features(self, run: str, images: str) -> Job:
        """Layer features of some images; the poolings made together with these do not count."""
        settings = {"torch_threads": self.config["torch_threads"]}
        if "." not in images:
            return Job("features", settings, (self.train(run), self.data()))
        _, attack, keep = images.split(".")
        return Job("features", {**settings, "keep": keep}, (self.train(run), self.attack(run, attack)))

    @once
    def centroids(self, run: str) -> Job:
        """Class centroids of a run."""
        return Job("centroids", {}, (self.features(run, "train"),))

    @once
    def paths(self, run: str, images: str) -> Job:
        """Feature paths of some images."""
        return Job("paths", {}, (self.features(run, images), self.centroids(run)))

    @once
    def collapse(self, run: str) -> Job:
        """Collapse metrics of a run."""
        return Job("collapse", {}, (self.features(run, "train"),))

    @once
    def threshold(self, run: str, calibration: str) -> Job:
        """A detector's layers, weights and thresholds."""
        detection = self.config["detection"]
        protocol = calibration.split(".")[0]
        settings = {"protocol": protocol, "layers": detection["layers"], "weights": detection["weights"]}
        if protocol == "held-out":
            settings["false_positive_rate"] = detection["false_positive_rate"]
        inputs = tuple(self.paths(run, images) for images in self.calibration_images(calibration))
        if detection["layers"] == "auto":
            settings["pfc3"] = self.config["collapse"]["pfc3"]
            inputs += (self.collapse(run),)
        return Job("threshold", settings, inputs)

    @once
    def selection(self, run: str, calibration: str) -> Job:
        """The voting layers."""
        recognition = self.config["recognition"]
        settings = {"protocol": calibration.split(".")[0], **{key: recognition[key] for key in ("layers", "weights")}}
        if recognition["layers"] == "auto":
            settings["top"] = recognition["top"]
        return Job("selection", settings, (self.paths(run, self.calibration_images(calibration)[1]),))

    @once
    def detection(self, run: str, attacked: str) -> Job:
        """Detection metrics and scores of ``<attack>.<keep>``, by every calibration."""
        thresholds = [self.threshold(run, calibration) for calibration in self.calibrations(attacked)]
        return Job("detection", {}, (*thresholds, *self._tested(run, attacked)))

    @once
    def recognition(self, run: str, attacked: str) -> Job:
        """Recognition metrics and labels of ``<attack>.<keep>``, by every calibration."""
        settings = {key: self.config["recognition"][key] for key in ("tie", "combinations")}
        thresholds = [self.threshold(run, calibration) for calibration in self.calibrations(attacked)]
        selections = [self.selection(run, calibration) for calibration in self.calibrations(attacked)]
        return Job("recognition", settings, (*thresholds, *selections, *self._tested(run, attacked)))

    @once
    def run_figures(self, run: str, pooling: str) -> Job:
        """Figures of a run and pooling."""
        model, training, seed = self._parts(run)
        settings = {"title": f"{model}, {training} training, seed {seed}, {pooling} features"}
        paths = [self.paths(run, images) for images in ["test", *(f"test.{attacked}" for attacked in self.attacked)]]
        detection = [self.detection(run, attacked) for attacked in self.attacked]
        recognition = [self.recognition(run, attacked) for attacked in self.attacked]
        return Job("run_figures", settings, (self.data(), *paths, *detection, *detection, *recognition))

    @once
    def summary_figures(self) -> Job:
        """Figures over all runs."""
        trained = [self.train(run) for run in self.runs]
        collapse = [self.collapse(run) for run in self.runs for _ in self.poolings]
        return Job("summary_figures", {"pfc3": self.config["collapse"]["pfc3"]}, (*trained, *collapse))

    @once
    def tables(self) -> Job:
        """All tables."""
        runs = [(run, pooling) for run in self.runs for pooling in self.poolings]
        inputs = [self.train(run) for run in self.runs]
        inputs += [self.attack(run, attack) for run in self.runs for attack in self.experiment.attacks]
        inputs += [self.detection(run, attacked) for run, _ in runs for attacked in self.attacked]
        inputs += [self.recognition(run, attacked) for run, _ in runs for attacked in self.attacked]
        inputs += [self.collapse(run) for run, _ in runs]
        settings = {
            "paper_numbers": self.config["data"]["source"] == "cifar10",
            "keep": {attack: self._keeps(attack) for attack in self.experiment.attacks},
        }
        return Job("tables", settings, tuple(inputs))

    @once
    def configuration(self) -> Job:
        """The record of the configuration; it is made again when any stage's code or library changes."""
        return Job("configuration", self.config, (self.tables(), self.summary_figures(), *self._all_run_figures()))

    def _all_run_figures(self) -> list[Job]:
        return [self.run_figures(run, pooling) for run in self.runs for pooling in self.poolings]

    def _tested(self, run: str, attacked: str) -> tuple[Job, Job]:
        return self.paths(run, "test"), self.paths(run, f"test.{attacked}")

    @staticmethod
    def _parts(run: str) -> tuple[str, str, int]:
        model, training, seed = run.split("-")
        return model, training, int(seed.removeprefix("s"))
