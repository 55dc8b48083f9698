"""Checks of an experiment against its data and networks: number of classes, size of images, number of layers.

Read while jobs are planned, so nothing here needs torch.
"""

from collections.abc import Iterator

from featurepaths.attacks.class_limits import DLR_CLASSES, left_out, possible_losses
from featurepaths.attacks.radius import too_far
from featurepaths.attacks.torchattacks.methods import METHODS, misfit
from featurepaths.data.size import DataSize
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.attacks import AnyAttack
from featurepaths.experiment.config.evaluation import Adaptive
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.plan import Plan
from featurepaths.networks.architectures import missing_layers
from featurepaths.store.code_digest import library_version
from featurepaths.store.jsonfile import read_description


def check_attacks(experiment: Experiment, size: DataSize) -> str:
    """Return what of the attacks' defaults is left out on data of this size, in words.

    Raises
    ------
    FeaturePathsError
        With one line for each setting that the data do not allow: its key, and what would be right.
    """
    attacks = experiment.attacks.items()
    problems = [problem for name, attack in attacks for problem in _attack(name, attack, size)]
    adaptive = experiment.adaptive
    words: list[str] = []
    if adaptive is not None:
        problems += _adaptive(adaptive, size.classes)
        words = left_out(adaptive.losses, adaptive.n_targets, size.classes)
    if problems:
        raise FeaturePathsError(
            "\n".join(["The data do not allow these attacks:", *(f"  {problem}" for problem in problems)])
        )
    return f"adaptive leaves out {' and '.join(words)}" if words else "the data allow all of them"


def needs_attack_library(experiment: Experiment) -> bool:
    """Return whether an attack or a control is one of torchattacks."""
    controls = experiment.adaptive and experiment.adaptive.controls
    methods = {attack.method for attack in experiment.attacks.values()}
    return not methods.isdisjoint(METHODS) or bool(controls and controls.n_queries)


def attack_library() -> str:
    """Return the version of torchattacks.

    Raises
    ------
    FeaturePathsError
        If it is not installed.
    """
    version = library_version("torchattacks")
    if version == "absent":
        raise FeaturePathsError(
            "torchattacks is not installed, which attacks other than apgd need, and the black-box control of adaptive "
            "attacks. Install it without its outdated requirements: pip install --no-deps torchattacks==3.5.1. Or "
            "leave these attacks out, and set n_queries: 0 under adaptive.controls."
        )
    return version


def check_layers(plan: Plan) -> None:
    """Check that pretrained networks have the layers that the configuration names, as far as their checkpoints exist.

    Raises
    ------
    FeaturePathsError
        With one line for each setting that names too many.
    """
    for run in plan.runs:
        checkpoint = plan.checkpoint(run)
        if run not in plan.trained and checkpoint.version is not None:
            count = len(read_description(checkpoint.path)["layers"])
            if problems := missing_layers(plan.experiment.named_layers, count, run):
                raise FeaturePathsError("\n  ".join(["The networks do not have these layers:", *problems]))


def _attack(name: str, attack: AnyAttack, size: DataSize) -> Iterator[str]:
    """Yield the settings of an attack that the data do not allow."""
    key, shape = f"attacks.{name}", (size.channels, size.height, size.width)
    if attack.method == "apgd":
        if not possible_losses([attack.loss], size.classes):
            yield f"{key}.loss: {_needs('dlr', size.classes)}; use loss: ce"
        if attack.eps_space == "pixel" and (problem := too_far(attack.eps, attack.norm, shape)):
            yield f"{key}.eps: {problem}"
        return
    if attack.eps is not None and (problem := too_far(attack.eps, attack.norm, shape)):
        yield f"{key}.eps: {problem}"
    if attack.method in METHODS and (problem := misfit(attack.method, attack.parameters, size.classes, shape)):
        yield f"{key}.method: {attack.method} {problem}"


def _adaptive(adaptive: Adaptive, classes: int) -> Iterator[str]:
    """Yield the settings that are impossible; defaults are reduced instead."""
    keys = adaptive.model_fields_set
    targeted = {"losses", "n_targets"} <= keys and adaptive.n_targets > 0
    if "losses" in keys and possible_losses(adaptive.losses, classes) != adaptive.losses:
        yield f"adaptive.losses: {_needs('dlr', classes)}; use losses: [ce]"
    elif targeted and not possible_losses(adaptive.losses, classes, targeted=True):
        needs = _needs("targeted dlr", classes, DLR_CLASSES["targeted"])
        yield f"adaptive.losses: {needs}; use losses: [ce], or n_targets: 0"
    if "n_targets" in keys and adaptive.n_targets >= classes:
        yield f"adaptive.n_targets: {adaptive.n_targets} wrong classes of {classes} classes; there are {classes - 1}"


def _needs(loss: str, classes: int, least: int = DLR_CLASSES["untargeted"]) -> str:
    return f"{loss} needs at least {least} classes, and there are {classes}"
