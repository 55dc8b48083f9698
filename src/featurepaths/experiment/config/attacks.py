"""Configuration of attacks."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from featurepaths.attacks.radius import NORMALIZED, too_far
from featurepaths.attacks.torchattacks.methods import METHODS, Parameter, complete
from featurepaths.experiment.config.types import (
    Positive,
    Precision,
    Section,
    Seed,
    StoppingRule,
    ascending,
    exact,
    meant,
    reachable,
)


class Ball(Section):
    """The images that AutoPGD may reach."""

    norm: Literal["linf", "l2"] = "linf"
    eps: Positive
    """Radius, in `eps_space`."""
    eps_space: Literal["pixel", "normalized"] = "pixel"
    """Units of eps and step: pixel values of [0, 1], or the network's normalised input (L-infinity only)."""


class Attack(Ball):
    """An attack on the network alone, by AutoPGD (Croce and Hein, 2020)."""

    method: Literal["apgd"] = "apgd"
    step: Positive | None = None
    """Initial step; null for 2 eps, as published."""
    iterations: int = Field(20, ge=1)
    loss: Literal["ce", "dlr"] = "ce"
    """Cross-entropy, or the difference of logits ratio."""
    stopping_rule: Annotated[list[StoppingRule], Field(min_length=1), AfterValidator(ascending)] = [
        "first-success",
        "max-loss",
    ]
    """Which iterates of the search are evaluated as its adversarial example, each by itself."""
    max_images: int | None = Field(None, ge=1)
    """Attack only this many images of a split, evenly spaced over it; null for all."""
    precision: Precision = "float32"
    """`bfloat16` applies to the search only: results are judged in float32. `auto` uses bfloat16 where it is fast."""
    seed: Seed = 0
    """Attack seed: added to the training seed; attacks that differ in nothing else are repetitions, which the summary
    averages first."""

    @model_validator(mode="after")
    def _units_fit_the_norm(self):
        if self.eps_space == "normalized" and self.norm != "linf":
            raise ValueError("eps_space: normalized needs norm: linf")
        for key in ("eps", "step"):
            if problem := self.too_far(getattr(self, key)):
                raise ValueError(f"{key}: {problem}")
        return self

    def too_far(self, value: Fraction | None) -> str | None:
        """Return the problem with a radius or a step in `eps_space`; None if images can be that far apart."""
        if value is None:
            return None
        if self.eps_space == "pixel":
            return too_far(value, self.norm)
        if value <= NORMALIZED:
            return None
        return (
            f"{value} normalised units are more than the range of pixels; did you mean {value}/255, eps_space: pixel?"
        )


def _known_method(method: Any) -> Any:
    if str(method) not in METHODS:
        methods = ["apgd", "precomputed", *METHODS]
        raise ValueError(f"should be one of {', '.join(methods)}, not '{method}'{meant(method, methods)}")
    return method


def _parameter(name: str, parameter: Parameter, value: Any) -> bool | int | str:
    """Return a parameter's value, numbers as exact text, or raise an error that states the permitted values."""
    if parameter.kind == "truth" and isinstance(value, bool):
        return value
    if parameter.kind == "word" and value in parameter.words:
        return value
    if (
        parameter.kind == "whole"
        and isinstance(value, int)
        and not isinstance(value, bool)
        and value >= parameter.least
        and (parameter.most is None or value <= int(parameter.most))
    ):
        return value
    if parameter.kind == "number":
        try:
            number = exact(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if number >= 0 and (parameter.most is None or number <= Fraction(parameter.most)):
            return str(number)
    most = f" and at most {parameter.most}" if parameter.most else ""
    should = {
        "truth": "true or false",
        "word": " or ".join(parameter.words),
        "whole": f"a whole number of at least {parameter.least}{most}",
        "number": f"a number of at least 0{most}",
    }[parameter.kind]
    raise ValueError(f"{name} should be {should}, not {value!r}")


class TorchattacksAttack(Section):
    """An attack on the network alone, by torchattacks (Kim, 2020), which must be installed."""

    method: Annotated[Literal[tuple(METHODS)], BeforeValidator(_known_method)]
    norm: Annotated[Literal["linf", "l2", "l1", "l0"] | None, Field(validate_default=True)] = None
    """Norm that the attack bounds or minimises; null for the method's first norm. L0 counts pixels."""
    eps: Annotated[Positive | None, Field(validate_default=True)] = None
    """Radius in that norm, in pixel values of [0, 1], or in pixels for L0. Unbounded methods, such as `deepfool` and
    `cw`, need none; if one is set, examples farther away do not count."""
    max_images: int | None = Field(None, ge=1)
    """Attack only this many images of a split, evenly spaced over it; null for all."""
    parameters: Annotated[dict[str, bool | int | float | str], Field(validate_default=True)] = {}
    """Parameters of the method, listed in `docs/method.md`. They default to torchattacks' values, and `alpha`, the
    step, to 2.5 eps / steps."""
    stopping_rule: Annotated[list[Literal["returned"]], Field(min_length=1, max_length=1)] = ["returned"]
    """The images that the library returns are evaluated."""
    seed: Seed = 0
    """Attack seed: added to the training seed; attacks that differ in nothing else are repetitions, which the summary
    averages first."""

    @field_validator("norm")
    @classmethod
    def _norm_is_the_methods(cls, norm: str | None, info: ValidationInfo) -> str | None:
        method = info.data.get("method")
        if method is None:
            return norm
        norms = METHODS[method].norms
        if norm is not None and norm not in norms:
            raise ValueError(f"method {method} has {' or '.join(norms)}, not {norm}")
        return norm or norms[0]

    @field_validator("eps")
    @classmethod
    def _radius_is_there(cls, eps: Fraction | None, info: ValidationInfo) -> Fraction | None:
        method = info.data.get("method")
        if method and eps is None and METHODS[method].radius:
            raise ValueError(f"eps is missing; method {method} needs a radius")
        if eps is not None and info.data.get("norm") == "l0" and eps.denominator != 1:
            raise ValueError(f"should be a whole number of pixels, not {eps}")
        return reachable(eps, info.data.get("norm"))

    @field_validator("parameters")
    @classmethod
    def _parameters_are_the_methods(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if not {"method", "norm", "eps"} <= info.data.keys():  # one of them is wrong, which is said already
            return values
        method = info.data["method"]
        parameters = METHODS[method].parameters
        for name in values:
            if name not in parameters:
                has = f"which has {', '.join(parameters)}" if parameters else "which has none"
                raise ValueError(f"'{name}' is no parameter of method {method}, {has}{meant(name, parameters)}")
        parsed = {name: _parameter(name, parameters[name], value) for name, value in values.items()}
        if "alpha" in parsed and (problem := too_far(Fraction(parsed["alpha"]), info.data["norm"])):
            raise ValueError(f"alpha: {problem}")
        return complete(method, parsed, info.data["eps"])


class PrecomputedAttack(Section):
    """Precomputed adversarial images, in place of an attack."""

    not_in_digest: ClassVar = ("test", "calibration")
    method: Literal["precomputed"]
    test: str
    """npz, HDF5 or torch file with `adversarial` images, uint8 or floats in [0, 1], and `index`: the position in the
    test split, from 0, of the image that each was made from. See docs/own-data.md, also for files without `index`."""
    calibration: str | None = None
    """The same for the calibration split; needed to calibrate on these images."""
    norm: Literal["linf", "l2", "l1", "l0"] = "linf"
    """Norm of distances. L0 counts pixels."""
    eps: Positive | None = None
    """Radius in that norm, in pixel values of [0, 1], or in pixels for L0. No image may exceed it except by rounding;
    null for no limit."""
    stopping_rule: Annotated[list[Literal["returned"]], Field(min_length=1, max_length=1)] = ["returned"]
    """The images themselves are evaluated."""

    @field_validator("eps")
    @classmethod
    def _radius_is_reachable(cls, eps: Fraction | None, info: ValidationInfo) -> Fraction | None:
        return reachable(eps, info.data.get("norm"))

    @property
    def files(self) -> dict[str, str]:
        """The configured files, by split."""
        named = {"test": self.test, "calibration": self.calibration}
        return {split: file for split, file in named.items() if file is not None}

    @property
    def max_images(self) -> None:
        """Limit on the number of images, which other attacks may have; None, because all images of the files count."""


def _section_of(attack: Any) -> str:
    """Return the section that describes an attack: AutoPGD's unless another method is named."""
    method = attack.get("method", "apgd") if isinstance(attack, Mapping) else getattr(attack, "method", "apgd")
    if method in ("precomputed", "files"):  # its former name, whose message names the new one
        return "PrecomputedAttack"
    return "Attack" if method == "apgd" else "TorchattacksAttack"


AnyAttack = Annotated[
    Annotated[Attack, Tag("Attack")]
    | Annotated[PrecomputedAttack, Tag("PrecomputedAttack")]
    | Annotated[TorchattacksAttack, Tag("TorchattacksAttack")],
    Discriminator(_section_of),
]
