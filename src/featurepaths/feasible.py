"""Whether an experiment's attacks can attack its data: what the number of classes and the size of the images decide.

Read while jobs are planned, so nothing here needs torch.
"""

from collections.abc import Iterator

from featurepaths.adaptive.classes import DLR_CLASSES, left_out, possible_losses
from featurepaths.attacks.methods import METHODS, misfit
from featurepaths.attacks.radius import too_far
from featurepaths.config import Adaptive, AnyAttack, Experiment
from featurepaths.errors import FeaturePathsError
from featurepaths.needs import DataSize

WIDEST = 4
"""Where only the height of images is known, they are taken to be at most so many times as wide, or as narrow."""


def check_attacks(experiment: Experiment, size: DataSize) -> str:
    """Return what of the attacks' defaults is left out on data of this size, in words.

    Raises
    ------
    FeaturePathsError
        With one line for each setting that the data do not allow: its key, and what would be right.
    """
    problems = [problem for name, attack in experiment.attacks.items() for problem in _attack(name, attack, size)]
    adaptive = experiment.adaptive
    words: list[str] = []
    if adaptive is not None:
        problems += _adaptive(adaptive, size.classes)
        words = left_out(adaptive.losses, adaptive.targets, size.classes)
    if problems:
        raise FeaturePathsError(
            "\n".join(["The data do not allow these attacks:", *(f"  {each}" for each in problems)])
        )
    return f"adaptive leaves out {' and '.join(words)}" if words else "the data allow all of them"


def _attack(name: str, attack: AnyAttack, size: DataSize) -> Iterator[str]:
    key, shape = f"attacks.{name}", (size.channels, size.pixels, WIDEST * size.pixels)
    if attack.method == "apgd":
        if not possible_losses([attack.loss], size.classes):
            yield f"{key}.loss: {_needs('dlr', size.classes)}; use loss: ce"
        if attack.eps_units == "pixel" and (problem := too_far(attack.eps, attack.norm, shape)):
            yield f"{key}.eps: {problem}"
        return
    if attack.eps is not None and (problem := too_far(attack.eps, attack.norm, shape)):
        yield f"{key}.eps: {problem}"
    if attack.method in METHODS:
        # the width is not known; at least it is a share of the height
        width = size.pixels // WIDEST if METHODS[attack.method].most_values else None
        its_shape = size.channels, size.pixels, width
        if problem := misfit(attack.method, attack.parameters, size.classes, its_shape):
            yield f"{key}.method: {attack.method} {problem}"


def _adaptive(adaptive: Adaptive, classes: int) -> Iterator[str]:
    """Yield what was asked for and cannot be; the defaults are reduced to what can."""
    given = adaptive.model_fields_set
    if "losses" in given and possible_losses(adaptive.losses, classes) != adaptive.losses:
        yield f"adaptive.losses: {_needs('dlr', classes)}; use losses: [ce]"
    if "targets" in given and adaptive.targets >= classes:
        yield f"adaptive.targets: {adaptive.targets} wrong classes of {classes} classes; there are {classes - 1}"


def _needs(loss: str, classes: int) -> str:
    return f"{loss} needs at least {DLR_CLASSES['untargeted']} classes, and there are {classes}"
