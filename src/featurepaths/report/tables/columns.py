"""Table columns: rates with confidence intervals, counts and layer names."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from featurepaths.statistics.metrics import wilson

GROUP_COUNTS = ["n_successful", "n_unsuccessful"]
WITH_INTERVAL = ("", "_low", "_high")
"""Endings of the columns of a value and of its 95 % confidence interval."""


def rate(name: str, successes: int, count: int) -> dict[str, float]:
    """Return the columns of a rate with its Wilson interval; NaN in [0, 1] if `count` is 0."""
    return bounded(name, successes / count if count else math.nan, *wilson(successes, count))


def bounded(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """Return the columns of a value with its interval."""
    return dict(zip(interval_columns(name), (value, low, high), strict=True))


def interval_columns(*names: str) -> list[str]:
    """Return the names of the columns of values with their intervals."""
    return [f"{name}{ending}" for name in names for ending in WITH_INTERVAL]


def select(content: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the entries of an artefact's content that are columns of the same name."""
    return {key: content[key] for key in keys}


def joined(layers: Iterable[int] | None) -> str | None:
    """Return layer numbers as the tables show them: ``2+3+4``; None for a detector without layers."""
    return None if layers is None else "+".join(map(str, layers))
