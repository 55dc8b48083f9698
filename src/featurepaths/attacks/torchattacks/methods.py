"""The attacks of torchattacks that an experiment may name, and what may be configured of them.

Read by the configuration, so nothing here needs torch. `tests/attacks/test_methods.py` holds every entry against the
installed library and against measurements: which draw random numbers, and which depend on the images beside. Left out
are parameters that say nothing about the attack (`verbose`, `inf_batch`), that the library does not use, or that
torchattacks 3.5.1 computes wrongly for more than one image (EAD's `kappa`).
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
        torchattacks' own; numbers as text, so that they stay exact. None: a step size, 2.5 eps / steps (Madry et al.),
        or 1.25 eps of an attack of one step (Wong et al.).
    least, most
        Bounds of whole and other numbers.
    words
        The words it may be, and how many classes each needs.
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
        Its class, by norm; the first norm is the default.
    radius
        What the class calls the radius that bounds the attack; None where nothing does.
    parameters
        What may be configured.
    told
        What the class is told besides: its norm, a seed, how many classes there are.
    fixed
        What it is told besides, whatever the configuration.
    random
        Whether its results depend on random numbers, with the default parameters.
    alone
        Whether each image is attacked by itself, because the library attacks images one by one anyway or lets them
        decide together when to stop; others are attacked in blocks of 64.
    least_classes
        How many classes it needs.
    square, colour
        Whether it attacks only images that are as wide as high, and only those of three channels.
    most_values
        How many values an image may have.
    lifted
        Whether it may see logits that are all positive: a constant changes nothing for it.
    """

    classes: Mapping[str, str]
    radius: str | None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    random: bool = False
    alone: bool = False
    least_classes: int = 2
    square: bool = False
    colour: bool = False
    most_values: int | None = None
    lifted: bool = True

    @property
    def norms(self) -> list[str]:
        """The norms that it bounds or minimises, the default first."""
        return list(self.classes)

    @property
    def independent(self) -> bool:
        """Whether an image's result is its own, whatever other images are attacked."""
        return self.alone or not self.random


def _whole(default: int, least: int = 1, most: int | None = None) -> Parameter:
    return Parameter("whole", default, least, None if most is None else str(most))


def _number(default: str | None, most: str | None = None) -> Parameter:
    return Parameter("number", default, most=most)


def _truth(default: bool) -> Parameter:
    return Parameter("truth", default)


def _word(default: str, **words: int) -> Parameter:
    return Parameter("word", default, words=words)


STEPS = {"steps": _whole(10), "alpha": _number(None)}
NORM, SEED = frozenset({"norm"}), frozenset({"seed"})
EAD = {
    "max_iterations": _whole(100, least=10),  # it divides by a tenth of them
    "binary_search_steps": _whole(9),
    "initial_const": _number("1/1000"),
    "beta": _number("1/1000"),
    "lr": _number("1/100"),
    "abort_early": _truth(True),
}
APGD = {"steps": _whole(10), "n_restarts": _whole(1), "eot_iter": _whole(1), "rho": _number("3/4", most="1")}
FAB = {
    "steps": _whole(10),
    "n_restarts": _whole(1),
    "alpha_max": _number("1/10", most="1"),
    "eta": _number("21/20"),
    "beta": _number("9/10", most="1"),
}
LINF_L2 = ("linf", "l2")

METHODS = {
    "fgsm": Method({"linf": "FGSM"}, "eps"),
    "ffgsm": Method({"linf": "FFGSM"}, "eps", {"alpha": _number(None)}, random=True),
    "rfgsm": Method({"linf": "RFGSM"}, "eps", STEPS, random=True),
    "bim": Method({"linf": "BIM"}, "eps", STEPS),
    "pgd": Method({"linf": "PGD", "l2": "PGDL2"}, "eps", STEPS | {"random_start": _truth(True)}, random=True),
    "eotpgd": Method(
        {"linf": "EOTPGD"}, "eps", STEPS | {"eot_iter": _whole(2), "random_start": _truth(True)}, random=True
    ),
    "tpgd": Method({"linf": "TPGD"}, "eps", STEPS, random=True),
    "upgd": Method(
        {"linf": "UPGD"},
        "eps",
        STEPS
        | {
            "random_start": _truth(False),
            "loss": _word("ce", ce=2, dlr=3, margin=2),
            "decay": _number("1"),
            "eot_iter": _whole(1),
        },
    ),
    "pgdrs": Method(
        {"linf": "PGDRS", "l2": "PGDRSL2"},
        "eps",
        STEPS | {"noise_sd": _number("1/2"), "noise_batch_size": _whole(5, most=1024)},
        random=True,
    ),
    "jitter": Method(
        {"linf": "Jitter"},
        "eps",
        STEPS | {"scale": _whole(10), "std": _number("1/10"), "random_start": _truth(True)},
        random=True,
        lifted=False,  # it divides the logits by the greatest
    ),
    "mifgsm": Method({"linf": "MIFGSM"}, "eps", STEPS | {"decay": _number("1")}),
    "nifgsm": Method({"linf": "NIFGSM"}, "eps", STEPS | {"decay": _number("1")}),
    "sinifgsm": Method({"linf": "SINIFGSM"}, "eps", STEPS | {"decay": _number("1"), "m": _whole(5)}),
    "vmifgsm": Method(
        {"linf": "VMIFGSM"},
        "eps",
        STEPS | {"decay": _number("1"), "N": _whole(5), "beta": _number("3/2")},
        random=True,
    ),
    "vnifgsm": Method(
        {"linf": "VNIFGSM"},
        "eps",
        STEPS | {"decay": _number("1"), "N": _whole(5), "beta": _number("3/2")},
        random=True,
    ),
    "difgsm": Method(
        {"linf": "DIFGSM"},
        "eps",
        STEPS | {"decay": _number("0"), "diversity_prob": _number("1/2", most="1"), "random_start": _truth(False)},
        random=True,
        square=True,  # it resizes images to squares
    ),
    "tifgsm": Method(
        {"linf": "TIFGSM"},
        "eps",
        STEPS | {"decay": _number("0"), "diversity_prob": _number("1/2", most="1"), "random_start": _truth(False)},
        random=True,
        square=True,
        colour=True,  # its kernel has three channels
    ),
    "pifgsm": Method(
        {"linf": "PIFGSM"}, "max_epsilon", {"num_iter_set": _whole(10), "amplification": _number("10")}, colour=True
    ),
    "pifgsmpp": Method(
        {"linf": "PIFGSMPP"},
        "max_epsilon",
        {"num_iter_set": _whole(10), "amplification": _number("10"), "project_factor": _number("4/5")},
        colour=True,
    ),
    "apgd-ce": Method(dict.fromkeys(LINF_L2, "APGD"), "eps", APGD, NORM | SEED, {"loss": "ce"}, random=True),
    "apgd-dlr": Method(
        dict.fromkeys(LINF_L2, "APGD"), "eps", APGD, NORM | SEED, {"loss": "dlr"}, random=True, least_classes=3
    ),
    "apgd-t": Method(
        dict.fromkeys(LINF_L2, "APGDT"), "eps", APGD, NORM | SEED | {"n_classes"}, random=True, least_classes=4
    ),
    "fab": Method(dict.fromkeys(LINF_L2, "FAB"), "eps", FAB, NORM | SEED),
    "fab-t": Method(dict.fromkeys(LINF_L2, "FAB"), "eps", FAB, NORM | SEED | {"n_classes"}, {"multi_targeted": True}),
    "square": Method(
        dict.fromkeys(LINF_L2, "Square"),
        "eps",
        {
            "n_queries": _whole(5000),
            "n_restarts": _whole(1),
            "p_init": _number("4/5", most="1"),
            "loss": _word("margin", margin=2, ce=2),
        },
        NORM | SEED,
        random=True,
    ),
    "autoattack": Method(
        dict.fromkeys(LINF_L2, "AutoAttack"),
        "eps",
        {"version": _word("standard", standard=4, plus=4, rand=3)},
        NORM | SEED | {"n_classes"},
        random=True,
    ),
    "spsa": Method(
        {"linf": "SPSA"},
        "eps",
        {
            "delta": _number("1/100"),
            "lr": _number("1/100"),
            "nb_iter": _whole(1),
            "nb_sample": _whole(128),
        },
        random=True,
        alone=True,
    ),
    "deepfool": Method({"l2": "DeepFool"}, None, {"steps": _whole(50), "overshoot": _number("1/50")}, alone=True),
    "cw": Method(
        {"l2": "CW"},
        None,
        {"steps": _whole(50), "c": _number("1"), "kappa": _number("0"), "lr": _number("1/100")},
    ),
    "ead": Method({"l1": "EADL1"}, None, EAD, alone=True),
    "eaden": Method({"l2": "EADEN"}, None, EAD, alone=True),
    "sparsefool": Method(
        {"l0": "SparseFool"},
        None,
        {"steps": _whole(10), "lam": _number("3"), "overshoot": _number("1/50")},
        alone=True,
    ),
    "jsma": Method(
        {"l0": "JSMA"},
        None,
        {"theta": _number("1", most="1"), "gamma": _number("1/10", most="1")},
        alone=True,
        most_values=5000,  # it holds a table of all pairs of them
    ),
    "pixle": Method(
        {"l0": "Pixle"},
        None,
        {
            "restarts": _whole(20),
            "max_iterations": _whole(10),
            "update_each_iteration": _truth(False),
        },
        random=True,
        alone=True,
        square=True,  # it takes columns for rows
    ),
    "onepixel": Method(
        {"l0": "OnePixel"}, "pixels", {"steps": _whole(10), "popsize": _whole(10)}, random=True, alone=True
    ),
}
"""The methods by the name that the configuration gives them."""


def complete(method: str, given: Mapping[str, Any], eps: Fraction | float | None) -> dict[str, Any]:
    """Return all parameters of a method: those given, and the defaults of the others."""
    parameters = {name: parameter.default for name, parameter in METHODS[method].parameters.items()} | given
    if parameters.get("alpha", 0) is None:
        share = Fraction(5, 2) / parameters["steps"] if "steps" in parameters else Fraction(5, 4)
        parameters["alpha"] = str(share * Fraction(eps))
    return parameters


def least_classes(method: str, parameters: Mapping[str, Any]) -> int:
    """Return how many classes a method needs with these parameters."""
    known = METHODS[method]
    needed = [each.words.get(parameters.get(name, each.default), 2) for name, each in known.parameters.items()]
    return max([known.least_classes, *needed])


def misfit(
    method: str, parameters: Mapping[str, Any], classes: int | None, shape: tuple[int | None, ...] | None
) -> str | None:
    """Return why a method cannot attack images of a shape [C, H, W], of so many classes; None if it can, or not known.

    What is None is not known: the classes, the shape, or its parts.
    """
    known, least = METHODS[method], least_classes(method, parameters)
    if classes is not None and classes < least:
        return f"needs at least {least} classes with these parameters, and there are {classes}"
    if shape is None:
        return None
    channels, height, width = shape
    if known.colour and channels not in (None, 3):
        return f"attacks images of three channels only, and these have {channels}"
    if known.square and None not in (height, width) and height != width:
        return f"attacks square images only, and these are {height}x{width}"
    if known.most_values is not None and None not in shape and channels * height * width > known.most_values:
        return f"attacks images of at most {known.most_values} values, and these have {channels * height * width}"
    return None
