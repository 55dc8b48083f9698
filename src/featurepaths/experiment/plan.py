"""The plan: all artefacts of an experiment, and the jobs that make several of them. The rules ask the plan."""

import json
from fractions import Fraction
from itertools import product
from typing import Any

from featurepaths.experiment.artefact import Artefact, once
from featurepaths.experiment.run import Run
from featurepaths.experiment.run_artefacts import RunArtefacts
from featurepaths.store.code_digest import digest_of

NOT_OF_THE_ATTACK = ("attack", "poolings", "controls")
"""Keys of the adaptive section that the adaptive attacks do not depend on."""


class Plan(RunArtefacts):
    """All artefacts of an experiment: those of its runs, the adaptive attacks on them, and its tables and figures."""

    @once
    def adaptive(self, run: str, pooling: str) -> Artefact:
        """All adaptive attacks on a run's frozen defence."""
        section = {key: value for key, value in self.config["adaptive"].items() if key not in NOT_OF_THE_ATTACK}
        settings = section | self._frozen(run)
        return self._artefact("adaptive", run, settings, {"pooling": pooling}, **self._defense(run, pooling))

    @once
    def worst_case(self, run: str, pooling: str) -> Artefact:
        """The worst case over all attacks on a run's defence."""
        adaptive, frozen = self.config["adaptive"], self._frozen(run)
        settings = {key: adaptive[key] for key in ("attack", "iterations", "restarts", "n_targets")}
        settings |= {key: frozen[key] for key in ("norm", "eps", "eps_space")}
        inputs = {
            "adaptive": [self.adaptive(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "detectors": [self.detectors(run, pooling)],
        }
        return self._artefact("worst_case", run, settings, {"pooling": pooling}, **inputs)

    @once
    def controls(self, run: str, pooling: str) -> Artefact:
        """The controls for masked gradients of the attacks on a run's defence."""
        adaptive, controls = self.config["adaptive"], dict(self.config["adaptive"]["controls"])
        settings = {key: adaptive[key] for key in ("attack", "objectives", "losses", "iterations", "step", "precision")}
        settings |= {"growing_iterations": controls.pop("iterations"), **controls, **self._frozen(run)}
        inputs = self._defense(run, pooling) | {"adaptive": [self.adaptive(run, pooling)]}
        inputs["transfer"] = [self.adaptive(other, pooling) for other in self._others(run)[:1]]
        return self._artefact("controls", run, settings, {"pooling": pooling}, **inputs)

    @once
    def run_figures(self, run: str, pooling: str, attack: str) -> Artefact:
        """The record of the figures of a run, pooling and attack."""
        model, training, seed = Run.parse(run)
        how = "pretrained" if self.experiment.pretrained(model) else f"{training} training, seed {seed}"
        settings = {"title": f"{model}, {how}\n{pooling} features, attack {attack}"}
        examples = self.examples(attack)
        detection, records = zip(*(self.detection(run, pooling, attacked) for attacked in examples), strict=True)
        inputs = {
            "data": [self.data()],
            "clean": [self.paths(run, pooling, "test")],
            "adversarial": [self.paths(run, pooling, f"test.{attacked}") for attacked in examples],
            "detection": detection,
            "records": records,
            "recognition": [self.recognition(run, pooling, attacked)[0] for attacked in examples],
        }
        names = {"run": run, "pooling": pooling, "attack": attack}
        return self._artefact("run_figures", "", settings, names, **inputs)

    @once
    def summary_figures(self) -> Artefact:
        """The record of the figures over all runs."""
        inputs = {"checkpoints": self._checkpoints(), "collapse": self._over(self.collapse)}
        return self._artefact("summary_figures", "", self.config["collapse"], **inputs)

    @once
    def tables(self) -> Artefact:
        """The record of all tables."""
        settings = {
            "paper_attacks": self._attacks_like_the_papers(),
            "stopping_rule": {attack: self._stopping_rules(attack) for attack in self.experiment.attacks},
            "groups": self._attack_groups(),
        }
        inputs = {
            "checkpoints": self._checkpoints(),
            "attacks": [self.attack(run, "test", attack) for run in self.runs for attack in self.experiment.attacks],
            "detection": [metrics for metrics, _ in self._over(self.detection, self.attacked)],
            "recognition": [metrics for metrics, _ in self._over(self.recognition, self.attacked)],
            "collapse": self._over(self.collapse),
        }
        return self._artefact("tables", "", settings, **inputs)

    @once
    def comparison(self) -> Artefact:
        """The record of the tables of adaptive attacks and of all detectors."""
        evaluations = [metrics for metrics, _ in self._over(self.detector_evaluation)]
        inputs = {"checkpoints": self._checkpoints(), "evaluations": evaluations, **self._attacked_defenses()}
        return self._artefact("comparison", "", {"groups": self._attack_groups()}, **inputs)

    @once
    def comparison_figures(self) -> Artefact:
        """The record of the figures of the same."""
        attack = self.experiment.calibration
        metrics, scores = zip(*self._over(self.detector_evaluation), strict=True)
        settings = {"calibrated_on": f"{attack.attack}.{attack.stopping_rule}"}
        records = [self.adaptive(*names) for names in self._attacked()]
        inputs = {"evaluations": metrics, "scores": scores, **self._attacked_defenses(), "records": records}
        return self._artefact("comparison_figures", "", settings, **inputs)

    @once
    def configuration(self) -> Artefact:
        """The record of the configuration; it is made again when any stage's code or library changes."""
        results = [artefact.digest for artefact in self._results()]
        settings = {"configuration": self.config, "results": digest_of("configuration", {}, results)}
        return self._artefact("configuration", "", settings)

    def everything(self) -> list[Artefact]:
        """Return all artefacts that the experiment needs, each after its inputs."""
        ordered: dict[Artefact, None] = {}

        def visit(artefact: Artefact) -> None:
            if artefact not in ordered:
                for source in artefact.sources:
                    visit(source)
                ordered[artefact] = None

        for artefact in (*self._results(), self.configuration()):
            visit(artefact)
        return list(ordered)

    # Jobs that make several artefacts

    def clean_features(self, run: str) -> list[Artefact]:
        """Layer features of all splits, of all poolings."""
        return [self.features(run, pooling, split) for pooling in self.poolings for split in self.splits]

    def attacked_features(self, run: str, split: str, attacked: str) -> list[Artefact]:
        """Layer features of the examples of one attack and stopping rule, of all poolings."""
        return [self.features(run, pooling, f"{split}.{attacked}") for pooling in self.poolings]

    def of_classes(self, run: str) -> list[Artefact]:
        """Centroids and collapse metrics of all poolings."""
        return [make(run, pooling) for make in (self.centroids, self.collapse) for pooling in self.poolings]

    def clean_paths(self, run: str) -> list[Artefact]:
        """Centroids, collapse metrics, and the feature paths of the clean images that no centroid is computed from."""
        paths = [self.paths(run, pooling, split) for pooling in self.poolings for split in self.splits[1:]]
        return self.of_classes(run) + paths

    def attacked_paths(self, run: str, split: str, attacked: str) -> list[Artefact]:
        """Feature paths of the examples of one attack and stopping rule, of all poolings."""
        return [self.paths(run, pooling, f"{split}.{attacked}") for pooling in self.poolings]

    def calibration(self, run: str) -> list[Artefact]:
        """The held-out thresholds and voting layers of all poolings."""
        makers = (self.threshold, self.selection)
        return [make(run, pooling, "held-out") for make in makers for pooling in self.poolings]

    def evaluation(self, run: str, attacked: str) -> list[Artefact]:
        """The paper's calibration on, detection and recognition of, one attack and stopping rule, of all poolings."""
        artefacts = []
        for pooling in self.poolings:
            artefacts += [make(run, pooling, f"paper.{attacked}") for make in (self.threshold, self.selection)]
            artefacts += [*self.detection(run, pooling, attacked), *self.recognition(run, pooling, attacked)]
        return artefacts

    def all_detectors(self, run: str) -> list[Artefact]:
        """The calibrated detectors of all poolings."""
        return [self.detectors(run, pooling) for pooling in self.poolings]

    def detector_evaluations(self, run: str) -> list[Artefact]:
        """The evaluation of all detectors, of all poolings."""
        return [artefact for pooling in self.poolings for artefact in self.detector_evaluation(run, pooling)]

    def _frozen(self, run: str) -> dict[str, Any]:
        """Return the settings of a frozen defence and of the ball that it is attacked in."""
        attack = self.config["attacks"][self.experiment.adaptive.attack]
        return {
            **{key: attack[key] for key in ("norm", "eps", "eps_space")},
            "tie_break": self.config["recognition"]["tie_break"],
            "seed": Run.parse(run).seed,
            **self.threads,
        }

    def _defense(self, run: str, pooling: str) -> dict[str, list[Artefact]]:
        """Return the artefacts of a frozen defence, and the oblivious attack whose images are attacked."""
        return {
            "checkpoint": [self.checkpoint(run)],
            "data": [self.data()],
            "centroids": [self.centroids(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "selection": [self.selection(run, pooling, "held-out")],
            "detectors": [self.detectors(run, pooling)],
            "attack": [self.attack(run, "test", self.experiment.adaptive.attack)],
        }

    def _others(self, run: str) -> list[str]:
        """Return the other runs of a run's seed: those of another model, trained alike, first."""
        itself = Run.parse(run)
        others = [other for other in map(Run.parse, self.runs) if other != itself and other.seed == itself.seed]
        others.sort(key=lambda other: other.training != itself.training or other.model == itself.model)
        return list(map(str, others))

    def _results(self) -> list[Artefact]:
        """Return the records of all tables and figures."""
        figures = self._over(self.run_figures, self.experiment.attacks)
        if self.experiment.detectors_are_tested:
            figures += [self.comparison(), self.comparison_figures()]
        return [self.tables(), self.summary_figures(), *figures]

    def _over(self, make: Any, *others: Any) -> list[Any]:
        """Return what `make` returns for every run and pooling, and everything else."""
        return [make(*names) for names in product(self.runs, self.poolings, *others)]

    def _checkpoints(self) -> list[Artefact]:
        return [self.checkpoint(run) for run in self.runs]

    def _attacked(self) -> list[tuple[str, str]]:
        """Return the run and the pooling of every defence under adaptive attack."""
        return list(product(self.runs, self.experiment.adaptive_poolings))

    def _attacked_defenses(self) -> dict[str, list[Artefact]]:
        """Return the artefacts of every defence under adaptive attack, by the options of the stages that read them."""
        attacked = self._attacked()
        with_controls = attacked if attacked and self.experiment.adaptive.controls else []
        return {
            "adaptive": [self.worst_case(*names) for names in attacked],
            "controls": [self.controls(*names) for names in with_controls],
        }

    def _attack_groups(self) -> dict[str, str]:
        """Return, by attack, the first one that differs from it in nothing but the seed: they are repetitions."""
        firsts: dict[str, str] = {}
        groups = {}
        for name, attack in self.config["attacks"].items():
            section = {key: value for key, value in attack.items() if key != "seed"}
            section["stopping_rule"] = self._stopping_rules(name)
            groups[name] = firsts.setdefault(json.dumps(section, sort_keys=True), name)
        return groups

    def _attacks_like_the_papers(self) -> list[str]:
        """Return the attacks that the paper's numbers may stand beside: AutoPGD on CIFAR-10, L-infinity, 8/255."""
        data = self.experiment.data
        if "cifar10" not in (data.source, getattr(data, "reference_dataset", None)):
            return []
        attacks = self.experiment.attacks.items()
        papers = ("apgd", "linf", Fraction(8, 255))
        return sorted(name for name, attack in attacks if (attack.method, attack.norm, attack.eps) == papers)
