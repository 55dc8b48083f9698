"""What every job of an experiment is given: its settings, and the cumulative digest of its work.

The rules ask the plan; nothing else does. Files are named as in the results' folder: a run is
``<model>-<training>-s<seed>``, images are a split or ``<split>.<attack>.<stopping_rule>``, and a calibration is ``held-out`` or
``paper.<attack>.<stopping_rule>`` (the paper calibrates on the very images it tests on, so every attack has its own).
"""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from featurepaths.experiment.artefact import Artefact, once
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.config.networks import PRETRAINED
from featurepaths.experiment.external import ExternalInputs
from featurepaths.store.code_digest import digest_of

NOT_OF_THE_DATA = ("root", "download", "title", "reference_dataset")
"""What the configuration says of a data set beside what is in it."""
WITH_CONTENTS = ("folder", "arrays", "factory")
"""The sources whose contents, or code, have a digest."""


class Plan:
    """All artefacts of an experiment.

    Parameters
    ----------
    experiment
        The configuration.
    outside
        What it takes from outside.
    """

    def __init__(self, experiment: Experiment, outside: ExternalInputs | None = None):
        self.experiment = experiment
        self.outside = outside or ExternalInputs()
        self.config = experiment.model_dump(mode="json")
        self.results = Path("results", experiment.name)
        self.poolings = sorted(experiment.features.poolings)
        self.streams = experiment.features.storage == "stream"
        self.splits = ["train", "calibration", "test"] if "held-out" in experiment.protocols else ["train", "test"]
        self.runs = [
            f"{model}-{training}-s{seed}" for model in experiment.models for training, seed in self._trainings(model)
        ]
        self.attacked = [attacked for attack in experiment.attacks for attacked in self.kept(attack)]

    def kept(self, attack: str) -> list[str]:
        """Return ``<attack>.<stopping_rule>`` of every stopping rule that an attack keeps."""
        return [f"{attack}.{stopping_rule}" for stopping_rule in self._keeps(attack)]

    @property
    def trained(self) -> list[str]:
        """The runs whose networks are trained here."""
        return [run for run in self.runs if self.experiment.pretrained(self._parts(run)[0]) is None]

    @property
    def evaluated_splits(self) -> list[str]:
        """The splits whose clean images have feature paths."""
        return [split for split in self.splits if split != "train"]

    def calibration_images(self, calibration: str) -> tuple[str, str]:
        """Return the names of the clean and of the attacked images that a calibration sees."""
        if calibration == "held-out":
            chosen = self.experiment.calibration
            return "calibration", f"calibration.{chosen.attack}.{chosen.stopping_rule}"
        return "test", f"test.{calibration.removeprefix('paper.')}"

    def calibrations(self, attacked: str) -> list[str]:
        """Return the calibrations, one a protocol, that are tested on ``<attack>.<stopping_rule>``."""
        return [f"paper.{attacked}" if protocol == "paper" else protocol for protocol in self.experiment.protocols]

    @once
    def data(self) -> Artefact:
        """The data set; where it lies does not count."""
        data = self.config["data"]
        left_out = (*NOT_OF_THE_DATA, "train", "test") if data["source"] == "arrays" else NOT_OF_THE_DATA
        settings = {key: value for key, value in data.items() if key not in left_out}
        if data["source"] in WITH_CONTENTS:
            settings["contents"] = self.outside.data
        return self._artefact("data", "", "data.h5", settings)

    @once
    def checkpoint(self, run: str) -> Artefact:
        """A run's network, trained or given."""
        model, training, seed = self._parts(run)
        if self.experiment.pretrained(model):
            described = {key: value for key, value in self.config["models"][model].items() if key != "checkpoint"}
            settings = {
                **described,
                **self.outside.networks[model],
                "seed": seed,
                "torch_threads": self.config["torch_threads"],
            }
            return self._artefact("network", run, "checkpoint.safetensors", settings, data=[self.data()])
        settings = {
            "model": self.config["models"][model],
            "training": self.config["training"][training],
            "seed": seed,
            "torch_threads": self.config["torch_threads"],
        }
        return self._artefact("train", run, "checkpoint.safetensors", settings, data=[self.data()])

    @once
    def attack(self, run: str, split: str, attack: str) -> Artefact:
        """An attack on a run's network."""
        settings = self.config["attacks"][attack] | {"torch_threads": self.config["torch_threads"]}
        if settings["method"] == "precomputed":
            settings["contents"] = self.outside.attacks.get(attack, {}).get(split)
            settings = {key: settings[key] for key in ("method", "norm", "eps", "contents", "torch_threads")}
        else:
            settings |= {"stopping_rule": self._keeps(attack), "seed": settings["seed"] + self._parts(run)[2]}
        inputs = {"checkpoint": [self.checkpoint(run)], "data": [self.data()]}
        return self._artefact("attack", run, f"attacks/{split}.{attack}.h5", settings, **inputs)

    @once
    def features(self, run: str, pooling: str, images: str) -> Artefact:
        """Layer features of some images."""
        settings, source = self._run_over(run, images)
        inputs = {"checkpoint": [self.checkpoint(run)], "data" if images in self.splits else "adversarial": [source]}
        return self._artefact("features", run, f"features/{pooling}/{images}.h5", settings, **inputs)

    def dumps(self, run: str, *images: str) -> list[Artefact]:
        """Layer features of some images, of all poolings, which one call makes."""
        return [self.features(run, pooling, name) for pooling in self.poolings for name in images]

    @once
    def centroids(self, run: str, pooling: str) -> Artefact:
        """Class centroids of a run."""
        if self.streams:
            return self._of_classes(run, f"centroids/{pooling}.h5")
        features = [self.features(run, pooling, "train")]
        return self._artefact("centroids", run, f"centroids/{pooling}.h5", {}, features=features)

    @once
    def paths(self, run: str, pooling: str, images: str) -> Artefact:
        """Feature paths of some images."""
        if self.streams:
            settings, source = self._run_over(run, images)
            inputs = {
                "checkpoint": [self.checkpoint(run)],
                "images": [source],
                "centroids": [self.centroids(run, pooling)],
            }
            return self._artefact("streamed_paths", run, f"paths/{pooling}/{images}.h5", settings, **inputs)
        inputs = {"features": [self.features(run, pooling, images)], "centroids": [self.centroids(run, pooling)]}
        return self._artefact("paths", run, f"paths/{pooling}/{images}.h5", {}, **inputs)

    @once
    def collapse(self, run: str, pooling: str) -> Artefact:
        """Collapse metrics of a run."""
        if self.streams:
            return self._of_classes(run, f"collapse/{pooling}.json")
        features = [self.features(run, pooling, "train")]
        return self._artefact("collapse", run, f"collapse/{pooling}.json", {}, features=features)

    def of_classes(self, run: str) -> list[Artefact]:
        """Centroids and collapse metrics of all poolings, which one call makes where features are streamed."""
        return [make(run, pooling) for make in (self.centroids, self.collapse) for pooling in self.poolings]

    @once
    def clean_paths(self, run: str) -> list[Artefact]:
        """Return the artefacts of the job over a run's clean dumps: centroids, collapse metrics and feature paths."""
        return [
            artefact
            for pooling in self.poolings
            for artefact in (
                self.centroids(run, pooling),
                self.collapse(run, pooling),
                *(self.paths(run, pooling, split) for split in self.evaluated_splits),
            )
        ]

    @once
    def attacked_paths(self, run: str, images: str) -> list[Artefact]:
        """Return the artefacts of the job over the dumps of attacked images: their feature paths."""
        return [self.paths(run, pooling, images) for pooling in self.poolings]

    @once
    def held_out(self, run: str) -> list[Artefact]:
        """Return the artefacts of the job that calibrates a run's held-out defence."""
        makers = self.threshold, self.selection
        return [make(run, pooling, "held-out") for pooling in self.poolings for make in makers]

    @once
    def evaluation(self, run: str, attacked: str) -> list[Artefact]:
        """Return the artefacts of the job that evaluates a run's defences against ``<attack>.<stopping_rule>``."""
        return [
            artefact
            for pooling in self.poolings
            for artefact in (
                self.threshold(run, pooling, f"paper.{attacked}"),
                self.selection(run, pooling, f"paper.{attacked}"),
                *self.detection(run, pooling, attacked),
                *self.recognition(run, pooling, attacked),
            )
        ]

    @once
    def all_detectors(self, run: str) -> list[Artefact]:
        """Return the calibrated detectors of all poolings of a run, which one job makes."""
        return [self.detectors(run, pooling) for pooling in self.poolings]

    @once
    def detector_evaluations(self, run: str) -> list[Artefact]:
        """Return the metrics and scores of the detectors of all poolings of a run, which one job makes."""
        return [artefact for pooling in self.poolings for artefact in self.detector_evaluation(run, pooling)]

    @once
    def threshold(self, run: str, pooling: str, calibration: str) -> Artefact:
        """A detector's layers, weights and thresholds."""
        detection = self.config["detection"]
        protocol = calibration.split(".")[0]
        settings = {"protocol": protocol, "layers": detection["layers"], "weights": detection["weights"]}
        if protocol == "held-out":
            settings["false_positive_rates"] = detection["false_positive_rates"]
        clean, attacked = self.calibration_images(calibration)
        inputs = {
            "clean": [self.paths(run, pooling, clean)],
            "adversarial": [self.paths(run, pooling, attacked)],
            "collapse": [],
        }
        if detection["layers"] == "auto":
            settings["pfc3_threshold"] = self.config["collapse"]["pfc3_threshold"]
            inputs["collapse"].append(self.collapse(run, pooling))
        file = f"thresholds/{pooling}/feature-paths.{calibration}.json"
        return self._artefact("threshold", run, file, settings, **inputs)

    @once
    def selection(self, run: str, pooling: str, calibration: str) -> Artefact:
        """The voting layers."""
        recognition = self.config["recognition"]
        settings = {"protocol": calibration.split(".")[0], **{key: recognition[key] for key in ("layers", "weights")}}
        if recognition["layers"] == "auto":
            settings["top"] = recognition["top"]
        _, attacked = self.calibration_images(calibration)
        inputs = {"adversarial": [self.paths(run, pooling, attacked)]}
        return self._artefact("selection", run, f"selection/{pooling}/{calibration}.json", settings, **inputs)

    @once
    def detection(self, run: str, pooling: str, attacked: str) -> tuple[Artefact, Artefact]:
        """Detection metrics of ``<attack>.<stopping_rule>`` by every calibration, and their records: the scores."""
        calibrations = self.calibrations(attacked)
        inputs = {
            "thresholds": [self.threshold(run, pooling, calibration) for calibration in calibrations],
            **self._tested(run, pooling, attacked),
        }
        return self._measured("detection", run, f"detection/{pooling}/feature-paths.{attacked}", {}, inputs)

    @once
    def recognition(self, run: str, pooling: str, attacked: str) -> tuple[Artefact, Artefact]:
        """Recognition metrics of ``<attack>.<stopping_rule>`` by every calibration, and their records: the labels."""
        settings = {key: self.config["recognition"][key] for key in ("tie_break", "combinations")}
        calibrations = self.calibrations(attacked)
        inputs = {
            "thresholds": [self.threshold(run, pooling, calibration) for calibration in calibrations],
            "selections": [self.selection(run, pooling, calibration) for calibration in calibrations],
            **self._tested(run, pooling, attacked),
        }
        return self._measured("recognition", run, f"recognition/{pooling}/feature-paths.{attacked}", settings, inputs)

    @once
    def detectors(self, run: str, pooling: str) -> Artefact:
        """The paper's detector and its rivals, calibrated."""
        settings = {
            "detectors": self.config["detectors"],
            "false_positive_rates": self.config["detection"]["false_positive_rates"],
            "torch_threads": self.config["torch_threads"],
        }
        clean, attacked = self.calibration_images("held-out")
        inputs = {
            "checkpoint": [self.checkpoint(run)],
            "centroids": [self.centroids(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "train": [self._shown(run, pooling, "train")],
            "calibration": [self._shown(run, pooling, clean)],
            "adversarial": [self._shown(run, pooling, attacked)],
        }
        if self.streams:
            settings["stopping_rule"] = self.experiment.calibration.stopping_rule
        return self._artefact("detectors", run, f"detectors/{pooling}.h5", settings, **inputs)

    @once
    def detector_evaluation(self, run: str, pooling: str) -> tuple[Artefact, Artefact]:
        """The metrics of all detectors on oblivious attacks, and their records: the scores."""
        inputs = {
            "detectors": [self.detectors(run, pooling)],
            "centroids": [self.centroids(run, pooling)],
            "calibration": [
                self._shown(run, pooling, f"calibration.{attacked}")
                for attack in self.experiment.calibrated
                for attacked in self.kept(attack)
            ],
            "test": [self._shown(run, pooling, "test")],
            "adversarial": [self._shown(run, pooling, f"test.{name}") for name in self.attacked],
            "checkpoint": [self.checkpoint(run)] if self.streams else [],
        }
        settings = {"torch_threads": self.config["torch_threads"]}
        if self.streams:
            settings["attacked"] = self.attacked
        return self._measured("detector_evaluation", run, f"detection/{pooling}/detector_evaluation", settings, inputs)

    @once
    def adaptive(self, run: str, pooling: str) -> Artefact:
        """Every attack on a run's frozen defence."""
        keys = (
            "max_images",
            "objectives",
            "losses",
            "n_targets",
            "restarts",
            "skip_defeated",
            "iterations",
            "step",
            "precision",
        )
        settings = {key: self.config["adaptive"][key] for key in keys} | self._frozen(run)
        return self._artefact("adaptive", run, f"adaptive/{pooling}.h5", settings, **self._defense(run, pooling))

    @once
    def worst_case(self, run: str, pooling: str) -> Artefact:
        """What all attacks left of a run's defence."""
        adaptive, frozen = self.config["adaptive"], self._frozen(run)
        settings = {key: adaptive[key] for key in ("attack", "iterations", "restarts", "n_targets")}
        settings |= {key: frozen[key] for key in ("norm", "eps", "eps_space")}
        inputs = {
            "adaptive": [self.adaptive(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "detectors": [self.detectors(run, pooling)],
        }
        return self._artefact("worst_case", run, f"adaptive/{pooling}.json", settings, **inputs)

    @once
    def controls(self, run: str, pooling: str) -> Artefact:
        """The controls of the attacks on a run's defence."""
        adaptive, controls = self.config["adaptive"], self.config["adaptive"]["controls"]
        settings = {key: adaptive[key] for key in ("attack", "objectives", "losses", "iterations", "step", "precision")}
        settings |= {key: controls[key] for key in ("max_images", "eps_multiples", "restarts", "n_queries")}
        settings |= {"growing_iterations": controls["iterations"], **self._frozen(run)}
        inputs = self._defense(run, pooling) | {"adaptive": [self.adaptive(run, pooling)]}
        inputs["transfer"] = [self.adaptive(other, pooling) for other in self._others(run)[:1]]
        return self._artefact("controls", run, f"controls/{pooling}.json", settings, **inputs)

    @once
    def run_figures(self, run: str, pooling: str, attack: str) -> Artefact:
        """The record of the figures of a run, pooling and attack."""
        model, training, seed = self._parts(run)
        how = "as it was given" if self.experiment.pretrained(model) else f"{training} training, seed {seed}"
        settings = {"title": f"{model}, {how}\n{pooling} features, attack {attack}"}
        kept = self.kept(attack)
        detection, records = zip(*(self.detection(run, pooling, attacked) for attacked in kept), strict=True)
        inputs = {
            "data": [self.data()],
            "clean": [self.paths(run, pooling, "test")],
            "adversarial": [self.paths(run, pooling, f"test.{attacked}") for attacked in kept],
            "detection": detection,
            "records": records,
            "recognition": [self.recognition(run, pooling, attacked)[0] for attacked in kept],
        }
        return self._artefact("run_figures", "", f"figures/{run}.{pooling}.{attack}.json", settings, **inputs)

    @once
    def summary_figures(self) -> Artefact:
        """The record of the figures over all runs."""
        settings = {"pfc3_threshold": self.config["collapse"]["pfc3_threshold"]}
        inputs = {"checkpoints": self._checkpoints(), "collapse": self._collapse()}
        return self._artefact("summary_figures", "", "figures/summary.json", settings, **inputs)

    @once
    def tables(self) -> Artefact:
        """The record of all tables."""
        settings = {
            "paper_attacks": self._papers_attacks(),
            "stopping_rule": {attack: self._keeps(attack) for attack in self.experiment.attacks},
            "groups": self._attack_groups(),
        }
        both = self._runs_and_poolings()
        inputs = {
            "checkpoints": self._checkpoints(),
            "attacks": [self.attack(run, "test", attack) for run in self.runs for attack in self.experiment.attacks],
            "detection": [self.detection(*one, attacked)[0] for one in both for attacked in self.attacked],
            "recognition": [self.recognition(*one, attacked)[0] for one in both for attacked in self.attacked],
            "collapse": self._collapse(),
        }
        return self._artefact("tables", "", "tables/tables.json", settings, **inputs)

    @once
    def comparison(self) -> Artefact:
        """The record of the tables of attackers who know the defence, and of rival detectors."""
        inputs = {
            "checkpoints": self._checkpoints(),
            "detectors": [metrics for metrics, _ in self._detector_evaluations()],
        }
        settings = {"groups": self._attack_groups()}
        inputs |= self._attacked_defenses()
        return self._artefact("comparison", "", "tables/comparison.json", settings, **inputs)

    @once
    def comparison_figures(self) -> Artefact:
        """The record of the figures of the same."""
        chosen = self.experiment.calibration
        settings = {"calibrated_on": f"{chosen.attack}.{chosen.stopping_rule}"}
        metrics, scores = zip(*self._detector_evaluations(), strict=True)
        inputs = {"detectors": metrics, "scores": scores, **self._attacked_defenses()}
        return self._artefact("comparison_figures", "", "figures/comparison.json", settings, **inputs)

    @once
    def configuration(self) -> Artefact:
        """The record of the configuration; it is made again when any stage's code or library changes."""
        results = [artefact.digest for artefact in self._results()]
        settings = {"configuration": self.config, "results": digest_of("configuration", {}, results)}
        return self._artefact("configuration", "", "config.json", settings)

    def everything(self) -> list[Artefact]:
        """Return all artefacts that the experiment needs, each after what it is made from."""
        found: dict[Artefact, None] = {}

        def visit(artefact: Artefact) -> None:
            if artefact not in found:
                for source in artefact.sources:
                    visit(source)
                found[artefact] = None

        for artefact in (*self._results(), self.configuration()):
            visit(artefact)
        return list(found)

    def _results(self) -> list[Artefact]:
        """Return the records of all tables and figures."""
        attacks = self.experiment.attacks
        figures = [self.run_figures(*one, attack) for one in self._runs_and_poolings() for attack in attacks]
        if self.experiment.detectors_are_tested:
            figures += [self.comparison(), self.comparison_figures()]
        return [self.tables(), self.summary_figures(), *figures]

    def _trainings(self, model: str) -> list[tuple[str, int]]:
        """Return the trainings of a model and their seeds: one, of the first seed, where it is given."""
        seeds = sorted(self.experiment.seeds)
        if self.experiment.pretrained(model):
            return [(PRETRAINED, seeds[0])]
        return [(training, seed) for training in self.experiment.training for seed in seeds]

    def _run_over(self, run: str, images: str) -> tuple[dict[str, Any], Artefact]:
        """Return the settings of a stage that runs a network over some images, and what they are read from."""
        settings = {"torch_threads": self.config["torch_threads"]}
        if images in self.splits:
            return settings, self.data()
        split, attack, stopping_rule = images.split(".")
        return settings | {"stopping_rule": stopping_rule}, self.attack(run, split, attack)

    def _shown(self, run: str, pooling: str, images: str) -> Artefact:
        """Return what detectors see features of some images by: a dump, or the images that the network runs over."""
        return self._run_over(run, images)[1] if self.streams else self.features(run, pooling, images)

    def _of_classes(self, run: str, file: str) -> Artefact:
        settings = {"torch_threads": self.config["torch_threads"]}
        inputs = {"checkpoint": [self.checkpoint(run)], "data": [self.data()]}
        return self._artefact("streamed_classes", run, file, settings, **inputs)

    def _frozen(self, run: str) -> dict[str, Any]:
        """Return the settings of a frozen defence and of the ball that it is attacked in."""
        attack = self.config["attacks"][self.experiment.adaptive.attack]
        return {
            **{key: attack[key] for key in ("norm", "eps", "eps_space")},
            "tie_break": self.config["recognition"]["tie_break"],
            "seed": self._parts(run)[2],
            "torch_threads": self.config["torch_threads"],
        }

    def _defense(self, run: str, pooling: str) -> dict[str, list[Artefact]]:
        """Return what a frozen defence is read from, and the oblivious attack whose images are attacked."""
        return {
            "checkpoint": [self.checkpoint(run)],
            "data": [self.data()],
            "centroids": [self.centroids(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "selection": [self.selection(run, pooling, "held-out")],
            "detectors": [self.detectors(run, pooling)],
            "attack": [self.attack(run, "test", self.experiment.adaptive.attack)],
        }

    def _detector_evaluations(self) -> list[tuple[Artefact, Artefact]]:
        return [self.detector_evaluation(*one) for one in self._runs_and_poolings()]

    def _attacked_defenses(self) -> dict[str, list[Artefact]]:
        """Return what is known of every defence that is attacked, by the names that the rules give it."""
        attacked = [(run, pooling) for run in self.runs for pooling in self.experiment.adaptive_poolings]
        with_controls = attacked if attacked and self.experiment.adaptive.controls else []
        return {
            "adaptive": [self.worst_case(*one) for one in attacked],
            "records": [self.adaptive(*one) for one in attacked],
            "controls": [self.controls(*one) for one in with_controls],
        }

    def _others(self, run: str) -> list[str]:
        """Return the other runs of a run's seed: those of another model, trained alike, first."""
        model, training, seed = self._parts(run)
        others = [other for other in self.runs if other != run and self._parts(other)[2] == seed]
        return sorted(others, key=lambda other: self._parts(other)[1] != training or self._parts(other)[0] == model)

    def _artefact(
        self, stage: str, run: str, file: str, settings: Mapping[str, Any], **inputs: Sequence[Artefact]
    ) -> Artefact:
        return Artefact(stage, self.results / run / file, file.rpartition(".")[0], settings, inputs, run)

    def _measured(
        self, stage: str, run: str, name: str, settings: Mapping[str, Any], inputs: Mapping[str, Sequence[Artefact]]
    ) -> tuple[Artefact, Artefact]:
        """Return metrics and records of one call: a JSON file and an HDF5 file beside it."""
        metrics, records = (self._artefact(stage, run, f"{name}{end}", settings, **inputs) for end in (".json", ".h5"))
        return metrics, records

    def _checkpoints(self) -> list[Artefact]:
        return [self.checkpoint(run) for run in self.runs]

    def _collapse(self) -> list[Artefact]:
        return [self.collapse(*one) for one in self._runs_and_poolings()]

    def _keeps(self, attack: str) -> list[str]:
        return sorted(self.experiment.attacks[attack].stopping_rule)

    def _attack_groups(self) -> dict[str, str]:
        """Return, by attack, the first one that differs from it in nothing but the seed: they are repetitions."""
        firsts: dict[str, str] = {}
        groups = {}
        for name, attack in self.config["attacks"].items():
            but_its_seed = {key: value for key, value in attack.items() if key != "seed"} | {
                "stopping_rule": self._keeps(name)
            }
            groups[name] = firsts.setdefault(json.dumps(but_its_seed, sort_keys=True), name)
        return groups

    def _papers_attacks(self) -> list[str]:
        """Return the attacks that the paper's numbers may stand beside: AutoPGD on CIFAR-10, L-infinity, 8/255."""
        data = self.experiment.data
        if "cifar10" not in (data.source, getattr(data, "reference_dataset", None)):
            return []
        attacks = self.experiment.attacks.items()
        papers = ("apgd", "linf", Fraction(8, 255))
        return sorted(name for name, attack in attacks if (attack.method, attack.norm, attack.eps) == papers)

    def _runs_and_poolings(self) -> list[tuple[str, str]]:
        return [(run, pooling) for run in self.runs for pooling in self.poolings]

    def _tested(self, run: str, pooling: str, attacked: str) -> dict[str, list[Artefact]]:
        return {
            "clean": [self.paths(run, pooling, "test")],
            "adversarial": [self.paths(run, pooling, f"test.{attacked}")],
        }

    @staticmethod
    def _parts(run: str) -> tuple[str, str, int]:
        model, training, seed = run.split("-")
        return model, training, int(seed.removeprefix("s"))
