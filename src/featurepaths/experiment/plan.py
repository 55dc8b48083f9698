"""The plan: all artefacts of an experiment, and the jobs that make several of them. The rules ask the plan."""

from fractions import Fraction
from itertools import product
from typing import Any

from featurepaths.attacks.budget import budget
from featurepaths.experiment.artefact import Artefact, once
from featurepaths.experiment.config.attacks import Ball
from featurepaths.experiment.config.evaluation import AdaptiveSearch
from featurepaths.experiment.run import Run
from featurepaths.experiment.run_artefacts import RunArtefacts
from featurepaths.store.code_digest import digest_of


class Plan(RunArtefacts):
    """All artefacts of an experiment: those of its runs, the adaptive attacks on them, and its tables and figures."""

    @once
    def adaptive(self, run: str, pooling: str) -> Artefact:
        """All adaptive attacks on a run's frozen defence."""
        return self._artefact("adaptive", run, {"pooling": pooling}, self._frozen(run), **self._defense(run, pooling))

    @once
    def worst_case(self, run: str, pooling: str) -> Artefact:
        """The worst case over all attacks on a run's defence."""
        frozen = self._frozen(run)
        values = {"attack": self.experiment.adaptive.attack, "search": frozen["search"], "ball": frozen["ball"]}
        inputs = {
            "adaptive": [self.adaptive(run, pooling)],
            "threshold": [self.threshold(run, pooling, "held-out")],
            "detectors": [self.detectors(run, pooling)],
        }
        return self._artefact("worst_case", run, {"pooling": pooling}, values, **inputs)

    @once
    def controls(self, run: str, pooling: str) -> Artefact:
        """The controls for masked gradients of the attacks on a run's defence."""
        adaptive = self.experiment.adaptive
        values = {**self._frozen(run), "attack": adaptive.attack, "controls": adaptive.controls}
        inputs = self._defense(run, pooling) | {"adaptive": [self.adaptive(run, pooling)]}
        inputs["transfer"] = [self.adaptive(other, pooling) for other in self._others(run)[:1]]
        return self._artefact("controls", run, {"pooling": pooling}, values, **inputs)

    @once
    def run_figures(self, run: str, pooling: str, attack: str) -> Artefact:
        """The record of the figures of a run, pooling and attack."""
        model, training, seed = Run.parse(run)
        trained = "pretrained" if self.experiment.pretrained(model) else f"{training} training, seed {seed}"
        examples = self.examples(attack)
        detection, records = zip(*(self.detection(run, pooling, attacked) for attacked in examples), strict=True)
        recognition, answers = zip(*(self.recognition(run, pooling, attacked) for attacked in examples), strict=True)
        adaptive = self.experiment.adaptive
        attacked_adaptively = pooling in self.experiment.adaptive_poolings and attack == adaptive.attack
        inputs = {
            "data": [self.data()],
            "clean": [self.paths(run, pooling, "test")],
            "adversarial": [self.paths(run, pooling, f"test.{attacked}") for attacked in examples],
            "detection": detection,
            "records": records,
            "recognition": recognition,
            "answers": answers,
            "attack": [self.attack(run, "test", attack)],
            "adaptive": [self.adaptive(run, pooling)] if attacked_adaptively else [],
        }
        names = {"run": run, "pooling": pooling, "attack": attack}
        title = f"{model}, {trained}\n{pooling} features, attack {attack} ({self._budget(attack)})"
        return self._artefact("run_figures", "", names, {"title": title}, **inputs)

    @once
    def summary_figures(self) -> Artefact:
        """The record of the figures over all runs."""
        values = {"pfc3_threshold": self.experiment.collapse.pfc3_threshold}
        inputs = {"checkpoints": self._checkpoints(), "collapse": self._over(self.collapse)}
        return self._artefact("summary_figures", "", settings=values, **inputs)

    @once
    def tables(self) -> Artefact:
        """The record of all tables."""
        attacks = self.experiment.attacks
        values = {
            "paper_attacks": self._attacks_like_the_papers(),
            "stopping_rules": {name: attack.stopping_rule for name, attack in attacks.items()},
            "groups": self._attack_groups(),
        }
        inputs = {
            "checkpoints": self._checkpoints(),
            "attacks": [self.attack(run, "test", attack) for run in self.runs for attack in attacks],
            "detection": [metrics for metrics, _ in self._over(self.detection, self.attacked)],
            "recognition": [metrics for metrics, _ in self._over(self.recognition, self.attacked)],
            "collapse": self._over(self.collapse),
        }
        return self._artefact("tables", "", settings=values, **inputs)

    @once
    def comparison(self) -> Artefact:
        """The record of the tables of adaptive attacks and of all detectors."""
        evaluations = [metrics for metrics, _ in self._over(self.detector_evaluation)]
        inputs = {"checkpoints": self._checkpoints(), "evaluations": evaluations, **self._attacked_defenses()}
        return self._artefact("comparison", "", settings={"groups": self._attack_groups()}, **inputs)

    @once
    def comparison_figures(self) -> Artefact:
        """The record of the figures of the same."""
        attack = self.experiment.calibration
        metrics, scores = zip(*self._over(self.detector_evaluation), strict=True)
        attacked, controls = self._attacked_defenses().values()
        inputs = {
            "evaluations": metrics,
            "scores": scores,
            "adaptive": attacked,
            "records": [source for worst_case in attacked for source in worst_case.inputs["adaptive"]],
            "controls": controls,
        }
        values = {
            "calibrated_on": f"{attack.attack}.{attack.stopping_rule}",
            "budget": self._budget(attack.attack),
        }
        return self._artefact("comparison_figures", "", settings=values, **inputs)

    @once
    def explorer(self) -> Artefact:
        """The record of the page that shows test images one by one."""
        detection, scores = zip(*self._over(self.detection, self.attacked), strict=True)
        recognition, answers = zip(*self._over(self.recognition, self.attacked), strict=True)
        inputs = {
            "data": [self.data()],
            "attacks": [self.attack(run, "test", attack) for run in self.runs for attack in self.experiment.attacks],
            "clean": self._over(self.paths, ["test"]),
            "adversarial": self._over(self.paths, [f"test.{attacked}" for attacked in self.attacked]),
            "detection": detection,
            "scores": scores,
            "recognition": recognition,
            "answers": answers,
            "adaptive": [
                self.adaptive(run, pooling) for run in self.runs for pooling in self.experiment.adaptive_poolings
            ],
        }
        adaptive = self.experiment.adaptive
        values = {
            "budgets": {attack: self._budget(attack) for attack in self.experiment.attacks},
            "adaptive_budget": self._budget(adaptive.attack) if adaptive else None,
        }
        return self._artefact("explorer", "", settings=values, **inputs)

    @once
    def configuration(self) -> Artefact:
        """The record of the configuration; it is made again when any stage's code or library changes."""
        results = digest_of("configuration", {}, [artefact.digest for artefact in self._results()])
        values = {"configuration": self.experiment.model_dump(mode="json"), "results": results}
        return self._artefact("configuration", "", settings=values)

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
        """Return the settings of a search against a frozen defence."""
        adaptive = self.experiment.adaptive
        return {
            "search": adaptive.part(AdaptiveSearch),
            "ball": self.experiment.attacks[adaptive.attack].part(Ball),
            "tie_break": self.experiment.recognition.tie_break,
            "seed": Run.parse(run).seed,
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
        """Return the other runs of a run's seed: those of another model with the same training first."""
        itself = Run.parse(run)
        others = [other for other in map(Run.parse, self.runs) if other != itself and other.seed == itself.seed]
        others.sort(key=lambda other: other.training != itself.training or other.model == itself.model)
        return list(map(str, others))

    def _results(self) -> list[Artefact]:
        """Return the records of all tables and figures."""
        figures = self._over(self.run_figures, self.experiment.attacks)
        if self.experiment.detectors_are_tested:
            figures += [self.comparison(), self.comparison_figures()]
        return [self.tables(), self.summary_figures(), *figures, self.explorer()]

    def _over(self, make: Any, *others: Any) -> list[Any]:
        """Return what `make` returns for every run and pooling, and everything else."""
        return [make(*names) for names in product(self.runs, self.poolings, *others)]

    def _checkpoints(self) -> list[Artefact]:
        return [self.checkpoint(run) for run in self.runs]

    def _attacked_defenses(self) -> dict[str, list[Artefact]]:
        """Return the worst case of every defence under adaptive attack, and the controls if there are any."""
        attacked = [(run, pooling) for run in self.runs for pooling in self.experiment.adaptive_poolings]
        with_controls = attacked if attacked and self.experiment.adaptive.controls else []
        return {
            "adaptive": [self.worst_case(*names) for names in attacked],
            "controls": [self.controls(*names) for names in with_controls],
        }

    def _budget(self, attack: str) -> str:
        """Return the norm and the radius of an attack in words, as far as they are known."""
        section = self.experiment.attacks[attack]
        if section.method == "precomputed" and section.eps is None:
            return "precomputed, eps unknown"
        return budget(section.norm, section.eps, getattr(section, "eps_space", "pixel"))

    def _attack_groups(self) -> dict[str, str]:
        """Return, by attack, the first one that differs from it in nothing but the seed: they are repetitions."""
        firsts: dict[str, str] = {}
        sections = {name: attack.model_dump_json(exclude={"seed"}) for name, attack in self.experiment.attacks.items()}
        return {name: firsts.setdefault(section, name) for name, section in sections.items()}

    def _attacks_like_the_papers(self) -> list[str]:
        """Return the attacks that are comparable with the paper's numbers: AutoPGD on CIFAR-10, L-infinity, 8/255."""
        data = self.experiment.data
        if "cifar10" not in (data.source, getattr(data, "reference_dataset", None)):
            return []
        attacks = self.experiment.attacks.items()
        papers = ("apgd", "linf", Fraction(8, 255))
        return sorted(name for name, attack in attacks if (attack.method, attack.norm, attack.eps) == papers)
