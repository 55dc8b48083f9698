"""The attacks of torchattacks that an experiment may name, and what may be configured of them.

Read by the configuration, so nothing here needs torch. Left out are parameters that say nothing about the attack
(`verbose`, `inf_batch`) and those that torchattacks 3.5.1 computes wrongly for more than one image (EAD's `kappa`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal


@dataclass(frozen=True)
class Parameter:
    """A parameter of an attack.

    Parameters
    ----------
    kind
        What its values are.
    default
        torchattacks' own; numbers as text, so that they stay exact. None: a step size, 2.5 eps / steps (Madry et al.).
    least, most
        Bounds of whole and other numbers.
    words
        The words it may be.
    """

    kind: Literal["whole", "number", "truth", "word"]
    default: bool | int | str | None
    least: int = 0
    most: str | None = None
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """An attack of torchattacks.

    Parameters
    ----------
    classes
        Its class, by norm; the first norm is the default.
    radius
        What the class calls the radius that bounds the attack; None where it minimises the norm instead.
    parameters
        What may be configured.
    told
        What the class is told besides: its norm, a seed, how many classes there are.
    """

    classes: Mapping[str, str]
    radius: str | None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    told: frozenset[str] = frozenset()

    @property
    def norms(self) -> list[str]:
        """The norms that it bounds or minimises, the default first."""
        return list(self.classes)


def _whole(default: int, least: int = 1) -> Parameter:
    return Parameter("whole", default, least)


def _number(default: str | None, most: str | None = None) -> Parameter:
    return Parameter("number", default, most=most)


METHODS = {
    "fgsm": Method({"linf": "FGSM"}, "eps"),
    "pgd": Method(
        {"linf": "PGD", "l2": "PGDL2"},
        "eps",
        {"steps": _whole(10), "alpha": _number(None), "random_start": Parameter("truth", True)},
    ),
    "mifgsm": Method({"linf": "MIFGSM"}, "eps", {"steps": _whole(10), "alpha": _number(None), "decay": _number("1")}),
    "deepfool": Method({"l2": "DeepFool"}, None, {"steps": _whole(50), "overshoot": _number("1/50")}),
    "cw": Method(
        {"l2": "CW"}, None, {"steps": _whole(50), "c": _number("1"), "kappa": _number("0"), "lr": _number("1/100")}
    ),
    "ead": Method(
        {"l1": "EADL1"},
        None,
        {
            "max_iterations": _whole(100, least=10),  # it divides by a tenth of them
            "binary_search_steps": _whole(9),
            "initial_const": _number("1/1000"),
            "beta": _number("1/1000"),
            "lr": _number("1/100"),
            "abort_early": Parameter("truth", True),
        },
    ),
    "onepixel": Method({"l0": "OnePixel"}, "pixels", {"steps": _whole(10), "popsize": _whole(10)}),
    "square": Method(
        {"linf": "Square", "l2": "Square"},
        "eps",
        {
            "n_queries": _whole(5000),
            "n_restarts": _whole(1),
            "p_init": _number("4/5", most="9/10"),  # greater squares of the L2 attack do not fit into the image
            "loss": Parameter("word", "margin", words=("margin", "ce")),
        },
        frozenset({"norm", "seed"}),
    ),
    "autoattack": Method(
        {"linf": "AutoAttack", "l2": "AutoAttack"},
        "eps",
        {"version": Parameter("word", "standard", words=("standard", "plus", "rand"))},
        frozenset({"norm", "seed", "n_classes"}),
    ),
}
"""The methods by the name that the configuration gives them."""


def complete(method: str, given: Mapping[str, Any], eps: Fraction | float | None) -> dict[str, Any]:
    """Return all parameters of a method: those given, and the defaults of the others."""
    parameters = {name: parameter.default for name, parameter in METHODS[method].parameters.items()} | given
    if parameters.get("alpha", 0) is None:
        parameters["alpha"] = str(Fraction(5, 2) * Fraction(eps) / parameters["steps"])
    return parameters
