"""Types of configuration values."""

import ast
import difflib
import inspect
import re
import textwrap
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)

from featurepaths.attacks.radius import too_far
from featurepaths.runtime.entry_points import FACTORY


def meant(name: Any, names: Iterable[str]) -> str:
    """Return the end of a message that suggests the closest known name; empty if none is close."""
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def exact(value: Any) -> Any:
    """Convert 0.1, "0.1" or "8/255" to the exact fraction, not to the nearest float."""
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
    """Return a radius or a step, in pixel values or pixels; refuse one greater than images can be apart."""
    if value is not None and norm is not None and (problem := too_far(value, norm)):
        raise ValueError(problem)
    return value


def _pixels(value: Fraction) -> Fraction:
    return reachable(value, "linf")


def distinct(values: list) -> list:
    """Return the values; refuse repeated ones."""
    if len(set(values)) < len(values):
        raise ValueError("contains a value twice")
    return values


def ascending(values: list) -> list:
    """Return the values in ascending order; refuse repeated ones."""
    return sorted(distinct(values))


def _descending(values: list) -> list:
    return sorted(values, reverse=True)


NUMBER = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(/\s*[0-9]+\s*)?$"}]}
Exact = Annotated[Fraction, BeforeValidator(exact), PlainSerializer(str), WithJsonSchema(NUMBER)]
Positive = Annotated[Exact, AfterValidator(_positive)]
Pixels = Annotated[Positive, AfterValidator(_pixels)]
"""A radius or a step in L-infinity."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$", max_length=60)]
"""The name of a folder or a file: letters, digits and underscores, because `-` and `.` separate names in paths."""


def _not_one(layers: list[int]) -> list[int]:
    if len(layers) == 1:
        raise ValueError("should name two or more layers, or none")
    return layers


Layers = Annotated[
    list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(distinct), AfterValidator(sorted)
]
Combined = Annotated[
    list[Annotated[int, Field(ge=1)]], AfterValidator(distinct), AfterValidator(_not_one), AfterValidator(sorted)
]
Arguments = dict[str, Annotated[JsonValue, WithJsonSchema({})]]
"""Keyword arguments of a function."""
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
"""The name of a user's function."""


def _strings_below_keys(section: type) -> dict[str, str]:
    """Return the strings below the keys in the source of a class."""
    statements = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0].body
    return {
        key.target.id: inspect.cleandoc(text.value.value)
        for key, text in pairwise(statements)
        if isinstance(key, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


S = TypeVar("S", bound=BaseModel)


class Section(BaseModel):
    """A section of the configuration, or the settings of a stage; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    not_in_digest: ClassVar[tuple[str, ...]] = ()
    """Keys that change no result, such as the location of files."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe keys by the strings below them; pydantic would parse them at the start of every stage."""
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for section in cls.__mro__[: cls.__mro__.index(BaseModel)]:
            for key, text in _strings_below_keys(section).items():
                properties.get(key, {}).setdefault("description", text)
        return schema

    def recipe(self) -> dict[str, Any]:
        """Return everything that results depend on, as JSON values."""
        values = self.model_dump(mode="json")
        sections = {key: getattr(self, key) for key in type(self).model_fields}
        values |= {key: section.recipe() for key, section in sections.items() if isinstance(section, Section)}
        return {key: value for key, value in values.items() if key not in self.not_in_digest}

    def part(self, kind: type[S]) -> S:
        """Return the keys of a section that this one extends."""
        return kind(**{key: getattr(self, key) for key in kind.model_fields})
