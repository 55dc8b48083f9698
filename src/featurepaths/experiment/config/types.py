"""Types of configuration values."""

import difflib
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)

from featurepaths.attacks.radius import too_far
from featurepaths.runtime.entry_points import FACTORY


def meant(given: Any, known: Iterable[str]) -> str:
    """Return a question about what was meant, to end a message with, if something is close."""
    close = difflib.get_close_matches(str(given), list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def exact(value: Any) -> Any:
    """Turn 0.1, "0.1" or "8/255" into the fraction that is written there, not into the nearest float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError("should be a number or a fraction such as 8/255")
    try:
        return Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"'{value}' is not a number or a fraction such as 8/255") from None


def _positive(value: Fraction) -> Fraction:
    if value <= 0:
        raise ValueError("should be greater than 0")
    return value


def reachable(value: Fraction | None, norm: str | None) -> Fraction | None:
    """Say so if a radius or a step, in pixel values or pixels, is greater than images are apart."""
    if value is not None and norm is not None and (problem := too_far(value, norm)):
        raise ValueError(problem)
    return value


def _pixels(value: Fraction) -> Fraction:
    return reachable(value, "linf")


def distinct(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("names something twice")
    return values


def ascending(values: list) -> list:
    return sorted(distinct(values))


def _descending(values: list) -> list:
    return sorted(values, reverse=True)


NUMBER = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(/\s*[0-9]+\s*)?$"}]}
Exact = Annotated[Fraction, BeforeValidator(exact), PlainSerializer(str), WithJsonSchema(NUMBER)]
Positive = Annotated[Exact, AfterValidator(_positive)]
Pixels = Annotated[Positive, AfterValidator(_pixels)]
"""A radius or a step of L-infinity."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", max_length=60)]
"""What names a folder or a file: letters, digits and underscores, because `-` and `.` separate names in paths."""


def _not_one(layers: list[int]) -> list[int]:
    if len(layers) == 1:
        raise ValueError("name two layers or more, or none")
    return layers


Layers = Annotated[
    list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(distinct), AfterValidator(sorted)
]
Combined = Annotated[
    list[Annotated[int, Field(ge=1)]], AfterValidator(distinct), AfterValidator(_not_one), AfterValidator(sorted)
]
Arguments = dict[str, Annotated[JsonValue, WithJsonSchema({})]]
"""What a function is given, by name."""
Weights = Literal["equal"] | list[Exact]
Rates = Annotated[
    list[Annotated[Exact, Field(gt=0, lt=1)]],
    Field(min_length=1),
    AfterValidator(distinct),
    AfterValidator(_descending),
]
StoppingRule = Literal["first-success", "last-success", "max-loss"]
AnyStoppingRule = Literal["first-success", "last-success", "max-loss", "returned"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Precision = Literal["auto", "float32", "bfloat16"]
Pooling = Literal["flatten", "mean"]
Objective = Literal["evade", "misvote", "match-features", "selective", "orthogonal"]
Detector = Literal[
    "confidence",
    "two-sided-confidence",
    "energy",
    "mahalanobis",
    "nearest-neighbours",
    "transport",
    "path-density",
]


def _names_a_function(text: str) -> str:
    if not re.fullmatch(FACTORY, text):
        raise ValueError(f"should be package.module:function, not '{text}'")
    return text


Function = Annotated[str, AfterValidator(_names_a_function)]
"""The name of a function of the user's."""


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
