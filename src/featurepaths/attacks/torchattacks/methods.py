"""The attacks of torchattacks that an experiment may use, and their parameters.

The configuration reads this table, so nothing here needs torch. `tests/attacks/test_methods.py` compares every entry
with the installed library and with measurements of randomness and of independence between images. Parameters are left
out that do not describe the attack (`verbose`, `inf_batch`), that the library does not use, or that torchattacks 3.5.1
computes wrongly for more than one image (EAD's `kappa`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, Literal


@dataclass(frozen=True)
class Parameter:
    """A parameter of an attack.

    Parameters
    ----------
    kind
        The type of its values.
    default
        torchattacks' default; numbers are text, so that they stay exact. None: a step size of 2.5 eps / steps (Madry et
        al.), or of 1.25 eps for an attack with one step (Wong et al.).
    least, most
        Bounds of whole and other numbers.
    words
        The allowed words, and how many classes each needs.
    """

    kind: Literal["whole", "number", "truth", "word"]
    default: bool | int | str | None
    least: int = 0
    most: str | None = None
    words: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """An attack of torchattacks.

    Parameters
    ----------
    classes
        The library's class for each norm; the first norm is the default.
    radius
        The class's argument for the radius that bounds the attack; None if the attack is not bounded.
    parameters
        The configurable arguments.
    context
        Arguments that are set at run time: the norm, a seed, the number of classes.
    fixed
        Arguments with a constant value.
    random
        Whether its results depend on random numbers, with the default parameters.
    alone
        Whether each image is attacked alone, because the library attacks images one by one anyway or decides for all
        together when to stop; other methods attack blocks of 64.
    least_classes
        The number of classes that it needs.
    square, colour
        Whether it supports only square images, and only images of three channels.
    most_values
        The greatest number of values of an image.
    shifted
        Whether the logits may be shifted above zero, because a constant does not change the attack.
    """

    classes: Mapping[str, str]
    radius: str | None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    context: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False
    alone: bool = False
    least_classes: int = 2
    square: bool = False
    colour: bool = False
    most_values: int | None = None
    shifted: bool = True

    @property
    def norms(self) -> list[str]:
        """The norms that it bounds or minimizes, the default first."""
        return list(self.classes)


_whole, _number = partial(Parameter, "whole", least=1), partial(Parameter, "number")
_truth, _word = partial(Parameter, "truth"), partial(Parameter, "word")

STEPS = {"steps": _whole(10), "alpha": _number(None)}
DECAY = {"decay": _number("1")}
MOMENTUM = STEPS | DECAY
FROM_RANDOM, FROM_CLEAN = ({"random_start": _truth(random)} for random in (True, False))
VARIANCE = MOMENTUM | {"N": _whole(5), "beta": _number("3/2")}
DIVERSITY = STEPS | {"decay": _number("0"), "diversity_prob": _number("1/2", most="1")} | FROM_CLEAN
PATCHES = {"num_iter_set": _whole(10), "amplification": _number("10")}
NOISE = {"noise_sd": _number("1/2"), "noise_batch_size": _whole(5, most="1024")}
RESTARTS = {"steps": _whole(10), "n_restarts": _whole(1)}
APGD = RESTARTS | {"eot_iter": _whole(1), "rho": _number("3/4", most="1")}
FAB = RESTARTS | {"alpha_max": _number("1/10", most="1"), "eta": _number("21/20"), "beta": _number("9/10", most="1")}
SQUARE = {
    "n_queries": _whole(5000),
    "n_restarts": _whole(1),
    "p_init": _number("4/5", most="1"),
    "loss": _word("margin", words={"margin": 2, "ce": 2}),
}
SPSA = {"delta": _number("1/100"), "lr": _number("1/100"), "nb_iter": _whole(1), "nb_sample": _whole(128)}
CW = {"steps": _whole(50), "c": _number("1"), "kappa": _number("0"), "lr": _number("1/100")}
EAD = {
    "max_iterations": _whole(100, least=10),  # the library divides by a tenth of them
    "binary_search_steps": _whole(9),
    "initial_const": _number("1/1000"),
    "beta": _number("1/1000"),
    "lr": _number("1/100"),
    "abort_early": _truth(True),
}
ONEPIXEL = {"steps": _whole(10), "popsize": _whole(10)}
JSMA = {"theta": _number("1", most="1"), "gamma": _number("1/10", most="1")}
PIXLE = {"restarts": _whole(20), "max_iterations": _whole(10), "update_each_iteration": _truth(False)}
OVERSHOOT = {"overshoot": _number("1/50")}
JITTER = STEPS | {"scale": _whole(10), "std": _number("1/10")} | FROM_RANDOM
UPGD = (
    STEPS | FROM_CLEAN | {"loss": _word("ce", words={"ce": 2, "dlr": 3, "margin": 2})} | DECAY | {"eot_iter": _whole(1)}
)
VERSION = {"version": _word("standard", words={"standard": 4, "plus": 4, "rand": 3})}


def _linf(name: str, parameters: Mapping[str, Parameter], radius: str = "eps", **options: Any) -> Method:
    return Method({"linf": name}, radius, parameters, **options)


def _linf_l2(name: str, parameters: Mapping[str, Parameter], *context: str, **options: Any) -> Method:
    return Method({"linf": name, "l2": name}, "eps", parameters, frozenset({"norm", "seed", *context}), **options)


def _unbounded(norm: str, name: str, parameters: Mapping[str, Parameter], **options: Any) -> Method:
    return Method({norm: name}, None, parameters, **options)


METHODS = {
    "fgsm": _linf("FGSM", {}),
    "ffgsm": _linf("FFGSM", {"alpha": _number(None)}, random=True),
    "rfgsm": _linf("RFGSM", STEPS, random=True),
    "bim": _linf("BIM", STEPS),
    "pgd": Method({"linf": "PGD", "l2": "PGDL2"}, "eps", STEPS | FROM_RANDOM, random=True),
    "eotpgd": _linf("EOTPGD", STEPS | {"eot_iter": _whole(2)} | FROM_RANDOM, random=True),
    "tpgd": _linf("TPGD", STEPS, random=True),
    "upgd": _linf("UPGD", UPGD),
    "pgdrs": Method({"linf": "PGDRS", "l2": "PGDRSL2"}, "eps", STEPS | NOISE, random=True),
    "jitter": _linf("Jitter", JITTER, random=True, shifted=False),  # it divides the logits by the greatest
    "mifgsm": _linf("MIFGSM", MOMENTUM),
    "nifgsm": _linf("NIFGSM", MOMENTUM),
    "sinifgsm": _linf("SINIFGSM", MOMENTUM | {"m": _whole(5)}),
    "vmifgsm": _linf("VMIFGSM", VARIANCE, random=True),
    "vnifgsm": _linf("VNIFGSM", VARIANCE, random=True),
    "difgsm": _linf("DIFGSM", DIVERSITY, random=True, square=True),  # it resizes images to squares
    "tifgsm": _linf("TIFGSM", DIVERSITY, random=True, square=True, colour=True),  # its kernel has three channels
    "pifgsm": _linf("PIFGSM", PATCHES, "max_epsilon", colour=True),
    "pifgsmpp": _linf("PIFGSMPP", PATCHES | {"project_factor": _number("4/5")}, "max_epsilon", colour=True),
    "apgd-ce": _linf_l2("APGD", APGD, fixed={"loss": "ce"}, random=True),
    "apgd-dlr": _linf_l2("APGD", APGD, fixed={"loss": "dlr"}, random=True, least_classes=3),
    "apgd-t": _linf_l2("APGDT", APGD, "n_classes", random=True, least_classes=4),
    "fab": _linf_l2("FAB", FAB),
    "fab-t": _linf_l2("FAB", FAB, "n_classes", fixed={"multi_targeted": True}),
    "square": _linf_l2("Square", SQUARE, random=True),
    "autoattack": _linf_l2("AutoAttack", VERSION, "n_classes", random=True),
    "spsa": _linf("SPSA", SPSA, random=True, alone=True),
    "deepfool": _unbounded("l2", "DeepFool", {"steps": _whole(50)} | OVERSHOOT, alone=True),
    "cw": _unbounded("l2", "CW", CW),
    "ead": _unbounded("l1", "EADL1", EAD, alone=True),
    "eaden": _unbounded("l2", "EADEN", EAD, alone=True),
    "sparsefool": _unbounded("l0", "SparseFool", {"steps": _whole(10), "lam": _number("3")} | OVERSHOOT, alone=True),
    "jsma": _unbounded("l0", "JSMA", JSMA, alone=True, most_values=5000),  # it holds a table of all pairs of them
    "pixle": _unbounded("l0", "Pixle", PIXLE, random=True, alone=True, square=True),  # it mistakes columns for rows
    "onepixel": Method({"l0": "OnePixel"}, "pixels", ONEPIXEL, random=True, alone=True),
}
"""The methods by their name in the configuration."""


def complete(method: str, parameters: Mapping[str, Any], eps: Fraction | float | None) -> dict[str, Any]:
    """Return all parameters of a method: those set, and the defaults of the others."""
    parameters = {name: parameter.default for name, parameter in METHODS[method].parameters.items()} | parameters
    if parameters.get("alpha", 0) is None:
        share = Fraction(5, 2) / parameters["steps"] if "steps" in parameters else Fraction(5, 4)
        parameters["alpha"] = str(share * Fraction(eps))
    return parameters


def least_classes(method: str, parameters: Mapping[str, Any]) -> int:
    """Return the number of classes that a method needs with these parameters."""
    entry = METHODS[method]
    counts = [
        parameter.words.get(parameters.get(name, parameter.default), 2) for name, parameter in entry.parameters.items()
    ]
    return max([entry.least_classes, *counts])


def misfit(
    method: str, parameters: Mapping[str, Any], classes: int | None, shape: tuple[int | None, ...] | None
) -> str | None:
    """Return why a method does not support this number of classes or images of this shape [C, H, W]; None if it does.

    The number of classes, the shape, or parts of it may be unknown, None: they are not checked.
    """
    entry, least = METHODS[method], least_classes(method, parameters)
    if classes is not None and classes < least:
        return f"needs at least {least} classes with these parameters, and there are {classes}"
    if shape is None:
        return None
    channels, height, width = shape
    if entry.colour and channels not in (None, 3):
        return f"attacks images of three channels only, and these have {channels}"
    if entry.square and None not in (height, width) and height != width:
        return f"attacks square images only, and these are {height}x{width}"
    if entry.most_values is not None and None not in shape and channels * height * width > entry.most_values:
        return f"attacks images of at most {entry.most_values} values, and these have {channels * height * width}"
    return None
