"""The artefacts of every run: their settings, inputs and cumulative digests.

Files are named as in the results folder: see `featurepaths.experiment.stages`. The paper
calibrates on the very images it tests on, so in its protocol every attack has a calibration of its own.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from featurepaths.experiment.artefact import Artefact, once
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.config.networks import PRETRAINED
from featurepaths.experiment.external import ExternalInputs
from featurepaths.experiment.run import Run
from featurepaths.experiment.stages import STAGES

NOT_OF_THE_DATA = ("root", "download", "title", "reference_dataset")
"""Keys of the data section that do not change the data set."""
WITH_CONTENTS = ("folder", "arrays", "factory")
"""The sources whose contents, or code, have a digest."""


class RunArtefacts:
    """The artefacts of every run of an experiment.

    Parameters
    ----------
    experiment
        The configuration.
    external
        The files and code that it reads from elsewhere.
    """

    def __init__(self, experiment: Experiment, external: ExternalInputs | None = None):
        self.experiment = experiment
        self.external = external or ExternalInputs()
        self.config = experiment.model_dump(mode="json")
        self.results = Path("results", experiment.name)
        self.poolings = sorted(experiment.features.poolings)
        self.streams = experiment.features.storage == "stream"
        self.splits = ["train", "calibration", "test"] if "held-out" in experiment.protocols else ["train", "test"]
        seeds = sorted(experiment.seeds)
        self.runs = [
            str(Run(model, training, seed))
            for model in experiment.models
            for training, seed in (
                [(PRETRAINED, seeds[0])] if experiment.pretrained(model) else product(experiment.training, seeds)
            )
        ]
        self.attacked = [attacked for attack in experiment.attacks for attacked in self.examples(attack)]
        self.threads = {"torch_threads": experiment.torch_threads}

    def examples(self, attack: str) -> list[str]:
        """Return ``<attack>.<stopping_rule>`` of every stopping rule of an attack."""
        return [f"{attack}.{stopping_rule}" for stopping_rule in self._stopping_rules(attack)]

    @property
    def trained(self) -> list[str]:
        """The runs whose networks are trained here."""
        return [run for run in self.runs if self.experiment.pretrained(Run.parse(run).model) is None]

    def calibration_images(self, calibration: str) -> tuple[str, str]:
        """Return the names of the clean and of the attacked images of a calibration."""
        if calibration == "held-out":
            attack = self.experiment.calibration
            return "calibration", f"calibration.{attack.attack}.{attack.stopping_rule}"
        return "test", f"test.{calibration.removeprefix('paper.')}"

    def calibrations(self, attacked: str) -> list[str]:
        """Return the calibrations, one per protocol, that are tested on ``<attack>.<stopping_rule>``."""
        return [f"paper.{attacked}" if protocol == "paper" else protocol for protocol in self.experiment.protocols]

    @once
    def data(self) -> Artefact:
        """The data set; its location does not count."""
        data = self.config["data"]
        left_out = (*NOT_OF_THE_DATA, "train", "test") if data["source"] == "arrays" else NOT_OF_THE_DATA
        settings = {key: value for key, value in data.items() if key not in left_out}
        if data["source"] in WITH_CONTENTS:
            settings["contents"] = self.external.data
        return self._artefact("data", "", settings)

    @once
    def checkpoint(self, run: str) -> Artefact:
        """A run's network, trained here or pretrained."""
        model, training, seed = Run.parse(run)
        section = self.config["models"][model]
        settings = {"seed": seed, **self.threads}
        if self.experiment.pretrained(model):
            settings |= {key: value for key, value in section.items() if key != "checkpoint"}
            return self._artefact("pretrained", run, settings | self.external.networks[model], data=[self.data()])
        settings |= {"model": section, "training": self.config["training"][training]}
        return self._artefact("train", run, settings, data=[self.data()])

    @once
    def attack(self, run: str, split: str, attack: str) -> Artefact:
        """An attack on a run's network."""
        settings = self.config["attacks"][attack] | self.threads
        if settings["method"] == "precomputed":
            settings["contents"] = self.external.attacks.get(attack, {}).get(split)
            settings = {key: settings[key] for key in ("method", "norm", "eps", "contents", *self.threads)}
        else:
            settings |= {"stopping_rule": self._stopping_rules(attack), "seed": settings["seed"] + Run.parse(run).seed}
        inputs = {"checkpoint": [self.checkpoint(run)], "data": [self.data()]}
        return self._artefact("attack", run, settings, {"split": split, "attack": attack}, **inputs)

    @once
    def features(self, run: str, pooling: str, images: str) -> Artefact:
        """Layer features of some images."""
        settings, source = self._images(run, images)
        inputs = {"checkpoint": [self.checkpoint(run)], "data" if images in self.splits else "adversarial": [source]}
        return self._artefact("features", run, settings, {"pooling": pooling, "images": images}, **inputs)

    @once
    def centroids(self, run: str, pooling: str) -> Artefact:
        """Class centroids of a run."""
        return self._of_classes("centroids", run, pooling)

    @once
    def collapse(self, run: str, pooling: str) -> Artefact:
        """Collapse metrics of a run."""
        return self._of_classes("collapse", run, pooling)

    @once
    def paths(self, run: str, pooling: str, images: str) -> Artefact:
        """Feature paths of some images."""
        inputs = {"centroids": [self.centroids(run, pooling)]}
        names = {"pooling": pooling, "images": images}
        if self.streams:
            settings, source = self._images(run, images)
            inputs = {"checkpoint": [self.checkpoint(run)], "images": [source], **inputs}
            return self._artefact("streamed_paths", run, settings, names, **inputs)
        return self._artefact("paths", run, {}, names, features=[self.features(run, pooling, images)], **inputs)

    @once
    def threshold(self, run: str, pooling: str, calibration: str) -> Artefact:
        """A detector's layers, weights and thresholds."""
        detection = self.config["detection"]
        protocol = calibration.split(".")[0]
        settings = {"protocol": protocol, "layers": detection["layers"], "weights": detection["weights"]}
        if protocol == "held-out":
            settings["false_positive_rates"] = detection["false_positive_rates"]
        inputs = self._pair(run, pooling, *self.calibration_images(calibration)) | {"collapse": []}
        if detection["layers"] == "auto":
            settings |= self.config["collapse"]
            inputs["collapse"] = [self.collapse(run, pooling)]
        names = {"pooling": pooling, "calibration": calibration}
        return self._artefact("threshold", run, settings, names, **inputs)

    @once
    def selection(self, run: str, pooling: str, calibration: str) -> Artefact:
        """The voting layers."""
        recognition = self.config["recognition"]
        keys = ("layers", "weights", "top") if recognition["layers"] == "auto" else ("layers", "weights")
        settings = {"protocol": calibration.split(".")[0], **{key: recognition[key] for key in keys}}
        _, attacked = self.calibration_images(calibration)
        names = {"pooling": pooling, "calibration": calibration}
        return self._artefact("selection", run, settings, names, adversarial=[self.paths(run, pooling, attacked)])

    @once
    def detection(self, run: str, pooling: str, attacked: str) -> tuple[Artefact, Artefact]:
        """Detection metrics of ``<attack>.<stopping_rule>`` by every calibration, and their records: the scores."""
        thresholds = [self.threshold(run, pooling, calibration) for calibration in self.calibrations(attacked)]
        inputs = {"thresholds": thresholds, **self._pair(run, pooling, "test", f"test.{attacked}")}
        return self._measured("detection", run, {}, {"pooling": pooling, "attacked": attacked}, **inputs)

    @once
    def recognition(self, run: str, pooling: str, attacked: str) -> tuple[Artefact, Artefact]:
        """Recognition metrics of ``<attack>.<stopping_rule>`` by every calibration, and their records: the answers."""
        settings = {key: self.config["recognition"][key] for key in ("tie_break", "combinations")}
        calibrations = self.calibrations(attacked)
        inputs = {
            "thresholds": [self.threshold(run, pooling, calibration) for calibration in calibrations],
            "selections": [self.selection(run, pooling, calibration) for calibration in calibrations],
            **self._pair(run, pooling, "test", f"test.{attacked}"),
        }
        return self._measured("recognition", run, settings, {"pooling": pooling, "attacked": attacked}, **inputs)

    @once
    def detectors(self, run: str, pooling: str) -> Artefact:
        """All detectors of a run, calibrated."""
        settings = {"detectors": self.config["detectors"], **self.threads}
        settings["false_positive_rates"] = self.config["detection"]["false_positive_rates"]
        clean, attacked = self.calibration_images("held-out")
        if self.streams:
            settings["stopping_rule"] = self.experiment.calibration.stopping_rule
        inputs = {
            "checkpoint": [self.checkpoint(run)],
            "centroids": [self.centroids(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "train": [self._feature_source(run, pooling, "train")],
            "calibration": [self._feature_source(run, pooling, clean)],
            "adversarial": [self._feature_source(run, pooling, attacked)],
        }
        return self._artefact("detectors", run, settings, {"pooling": pooling}, **inputs)

    @once
    def detector_evaluation(self, run: str, pooling: str) -> tuple[Artefact, Artefact]:
        """The metrics of all detectors on oblivious attacks, and their records: the scores."""
        calibrated = [attacked for attack in self.experiment.calibrated for attacked in self.examples(attack)]
        inputs = {
            "detectors": [self.detectors(run, pooling)],
            "centroids": [self.centroids(run, pooling)],
            "calibration": [self._feature_source(run, pooling, f"calibration.{name}") for name in calibrated],
            "test": [self._feature_source(run, pooling, "test")],
            "adversarial": [self._feature_source(run, pooling, f"test.{name}") for name in self.attacked],
            "checkpoint": [self.checkpoint(run)] if self.streams else [],
        }
        settings = self.threads | ({"attacked": self.attacked} if self.streams else {})
        return self._measured("detector_evaluation", run, settings, {"pooling": pooling}, **inputs)

    def _images(self, run: str, images: str) -> tuple[dict[str, Any], Artefact]:
        """Return the settings of a stage that runs a network over some images, and the artefact that holds them."""
        if images in self.splits:
            return dict(self.threads), self.data()
        split, attack, stopping_rule = images.split(".")
        return self.threads | {"stopping_rule": stopping_rule}, self.attack(run, split, attack)

    def _feature_source(self, run: str, pooling: str, images: str) -> Artefact:
        """Return where detectors take features of some images from: a dump, or images that the network runs over."""
        return self._images(run, images)[1] if self.streams else self.features(run, pooling, images)

    def _of_classes(self, stage: str, run: str, pooling: str) -> Artefact:
        names = {"pooling": pooling}
        if not self.streams:
            return self._artefact(stage, run, {}, names, features=[self.features(run, pooling, "train")])
        inputs = {"checkpoint": [self.checkpoint(run)], "data": [self.data()]}
        return self._artefact("streamed_classes", run, self.threads, names, output=stage, **inputs)

    def _pair(self, run: str, pooling: str, clean: str, attacked: str) -> dict[str, list[Artefact]]:
        return {"clean": [self.paths(run, pooling, clean)], "adversarial": [self.paths(run, pooling, attacked)]}

    def _stopping_rules(self, attack: str) -> list[str]:
        return sorted(self.experiment.attacks[attack].stopping_rule)

    def _artefact(
        self,
        stage: str,
        run: str,
        settings: Mapping[str, Any],
        names: Mapping[str, str] | None = None,
        output: str | None = None,
        **inputs: Sequence[Artefact],
    ) -> Artefact:
        """Return an artefact by the declaration of its stage: of the output option `output`, by default the first."""
        output = output or next(iter(STAGES[stage].outputs))
        file = STAGES[stage].outputs[output].format_map(names or {})
        return Artefact(stage, self.results / run / file, file.rpartition(".")[0], settings, output, inputs, run)

    def _measured(
        self, stage: str, run: str, settings: Mapping[str, Any], names: Mapping[str, str], **inputs: Sequence[Artefact]
    ) -> tuple[Artefact, Artefact]:
        """Return metrics and records of one call: a JSON file and an HDF5 file beside it."""
        metrics, records = (
            self._artefact(stage, run, settings, names, kind, **inputs) for kind in ("metrics", "records")
        )
        return metrics, records
