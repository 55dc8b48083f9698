"""The artefacts of every run: their settings, inputs and cumulative digests.

Files are named as in the results folder: see `featurepaths.experiment.stages`. The paper calibrates on its test images,
so in its protocol every attack has a separate calibration.
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

    def examples(self, attack: str) -> list[str]:
        """Return ``<attack>.<stopping_rule>`` of every stopping rule of an attack."""
        return [f"{attack}.{stopping_rule}" for stopping_rule in self.experiment.attacks[attack].stopping_rule]

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
        return self._artefact("data", "", settings={"contents": self.external.data})

    @once
    def checkpoint(self, run: str) -> Artefact:
        """A run's network, trained here or pretrained."""
        model, training, seed = Run.parse(run)
        values = {"model": self.experiment.models[model], "seed": seed}
        if self.experiment.pretrained(model):
            values |= {**self.external.networks[model], "named_layers": self.experiment.named_layers}
            return self._artefact("pretrained", run, settings=values, data=[self.data()])
        values |= {"training": self.experiment.training[training]}
        return self._artefact("train", run, settings=values, data=[self.data()])

    @once
    def attack(self, run: str, split: str, attack: str) -> Artefact:
        """An attack on a run's network."""
        section = self.experiment.attacks[attack]
        if section.method == "precomputed":
            values = {"attack": section, "seed": 0, "contents": self.external.attacks.get(attack, {}).get(split)}
        else:
            values = {"attack": section, "seed": section.seed + Run.parse(run).seed}
        names = {"split": split, "attack": attack}
        return self._artefact("attack", run, names, values, checkpoint=[self.checkpoint(run)], data=[self.data()])

    @once
    def features(self, run: str, pooling: str, images: str) -> Artefact:
        """Layer features of some images."""
        source, stopping_rule = self._images(run, images)
        inputs = {"checkpoint": [self.checkpoint(run)], "images": [source]}
        names = {"pooling": pooling, "images": images}
        return self._artefact("features", run, names, {"stopping_rule": stopping_rule}, **inputs)

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
        names, centroids = {"pooling": pooling, "images": images}, [self.centroids(run, pooling)]
        if not self.streams:
            features = [self.features(run, pooling, images)]
            return self._artefact("paths", run, names, features=features, centroids=centroids)
        source, stopping_rule = self._images(run, images)
        inputs = {"checkpoint": [self.checkpoint(run)], "images": [source], "centroids": centroids}
        return self._artefact("streamed_paths", run, names, {"stopping_rule": stopping_rule}, **inputs)

    @once
    def threshold(self, run: str, pooling: str, calibration: str) -> Artefact:
        """A detector's layers, weights and thresholds."""
        detection = self.experiment.detection
        protocol = calibration.split(".")[0]
        values = {"protocol": protocol, "layers": detection.layers, "weights": detection.weights}
        if protocol == "held-out":
            values["false_positive_rates"] = detection.false_positive_rates
        inputs = self._pair(run, pooling, *self.calibration_images(calibration)) | {"collapse": []}
        if detection.layers == "auto":
            values["pfc3_threshold"] = self.experiment.collapse.pfc3_threshold
            inputs["collapse"] = [self.collapse(run, pooling)]
        return self._artefact("threshold", run, {"pooling": pooling, "calibration": calibration}, values, **inputs)

    @once
    def selection(self, run: str, pooling: str, calibration: str) -> Artefact:
        """The voting layers."""
        recognition = self.experiment.recognition
        values = {"protocol": calibration.split(".")[0], "layers": recognition.layers, "weights": recognition.weights}
        values["top"] = recognition.top if recognition.layers == "auto" else None
        names = {"pooling": pooling, "calibration": calibration}
        _, attacked = self.calibration_images(calibration)
        return self._artefact("selection", run, names, values, adversarial=[self.paths(run, pooling, attacked)])

    @once
    def detection(self, run: str, pooling: str, attacked: str) -> tuple[Artefact, Artefact]:
        """Detection metrics of ``<attack>.<stopping_rule>`` by every calibration, and their records: the scores."""
        thresholds = [self.threshold(run, pooling, calibration) for calibration in self.calibrations(attacked)]
        inputs = {"thresholds": thresholds, **self._pair(run, pooling, "test", f"test.{attacked}")}
        return self._measured("detection", run, {"pooling": pooling, "attacked": attacked}, **inputs)

    @once
    def recognition(self, run: str, pooling: str, attacked: str) -> tuple[Artefact, Artefact]:
        """Recognition metrics of ``<attack>.<stopping_rule>`` by every calibration, and their records: the answers."""
        calibrations = self.calibrations(attacked)
        inputs = {
            "thresholds": [self.threshold(run, pooling, calibration) for calibration in calibrations],
            "selections": [self.selection(run, pooling, calibration) for calibration in calibrations],
            **self._pair(run, pooling, "test", f"test.{attacked}"),
        }
        names, section = {"pooling": pooling, "attacked": attacked}, self.experiment.recognition
        values = {"tie_break": section.tie_break, "combinations": section.combinations}
        return self._measured("recognition", run, names, values, **inputs)

    @once
    def detectors(self, run: str, pooling: str) -> Artefact:
        """All detectors of a run, calibrated."""
        clean, attacked = self.calibration_images("held-out")
        inputs = {
            "checkpoint": [self.checkpoint(run)],
            "centroids": [self.centroids(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "train": [self._feature_source(run, pooling, "train")],
            "calibration": [self._feature_source(run, pooling, clean)],
            "adversarial": [self._feature_source(run, pooling, attacked)],
        }
        values = {"false_positive_rates": self.experiment.detection.false_positive_rates}
        if self.streams:
            values["stopping_rule"] = self.experiment.calibration.stopping_rule
        return self._artefact("detectors", run, {"pooling": pooling}, values, **inputs)

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
        values = {"calibrated": calibrated, "attacked": self.attacked} if self.streams else {}
        return self._measured("detector_evaluation", run, {"pooling": pooling}, values, **inputs)

    def _images(self, run: str, images: str) -> tuple[Artefact, str | None]:
        """Return the artefact that holds some images, and the stopping rule of those of an attack."""
        if images in self.splits:
            return self.data(), None
        split, attack, stopping_rule = images.split(".")
        return self.attack(run, split, attack), stopping_rule

    def _feature_source(self, run: str, pooling: str, images: str) -> Artefact:
        """Return where detectors take features of some images from: a dump, or images that the network runs over."""
        return self._images(run, images)[0] if self.streams else self.features(run, pooling, images)

    def _of_classes(self, stage: str, run: str, pooling: str) -> Artefact:
        names = {"pooling": pooling}
        if not self.streams:
            return self._artefact(stage, run, names, features=[self.features(run, pooling, "train")])
        inputs = {"checkpoint": [self.checkpoint(run)], "data": [self.data()]}
        return self._artefact("streamed_classes", run, names, output=stage, **inputs)

    def _pair(self, run: str, pooling: str, clean: str, attacked: str) -> dict[str, list[Artefact]]:
        return {"clean": [self.paths(run, pooling, clean)], "adversarial": [self.paths(run, pooling, attacked)]}

    def _artefact(
        self,
        stage: str,
        run: str,
        names: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        output: str | None = None,
        **inputs: Sequence[Artefact],
    ) -> Artefact:
        """Return an artefact by the declaration of its stage.

        Parameters
        ----------
        names
            The value of each name in its path.
        settings
            The settings that differ from the experiment's keys of the same name.
        output
            The option that names it; the stage's first one by default.
        """
        declared, names, folder = STAGES[stage], names or {}, self.results / run
        output = output or next(iter(declared.outputs))
        file = declared.outputs[output].format_map(names)
        keys = declared.settings.model_fields.keys() & Experiment.model_fields.keys()
        values = {key: getattr(self.experiment, key) for key in keys} | dict(settings or {})
        name, typed = file.rpartition(".")[0], declared.settings(**values)
        return Artefact(stage, folder / file, name, typed, output, inputs, folder, names, run)

    def _measured(self, stage: str, *arguments: Any, **inputs: Sequence[Artefact]) -> tuple[Artefact, Artefact]:
        """Return metrics and records of one call: a JSON file and an HDF5 file."""
        metrics, records = (self._artefact(stage, *arguments, output=kind, **inputs) for kind in ("metrics", "records"))
        return metrics, records
