"""Table columns: rates with confidence intervals, counts and layer names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from featurepaths.statistics.metrics import wilson

RATES = {
    "clean_accuracy": ("clean_correct", "n"),
    "adversarial_accuracy": ("adversarial_correct", "n"),
    "flagged_accuracy": ("flagged_correct", "flagged_adversarial"),
    "successful_accuracy": ("successful_correct", "n_successful"),
    "unsuccessful_accuracy": ("unsuccessful_correct", "n_unsuccessful"),
    "defended_accuracy": ("defended_correct", "n"),
    "undefended_accuracy": ("undefended_correct", "n"),
    "detection_rate": ("flagged_adversarial", "n_adversarial"),
    "false_positive_rate": ("flagged_clean", "n_clean"),
    "successful_detection_rate": ("flagged_successful", "n_successful"),
    "unsuccessful_detection_rate": ("flagged_unsuccessful", "n_unsuccessful"),
    "flagged_rate": ("flagged", "n"),
    "evasion_rate": ("evaded", "n"),
    "success_rate": ("success", "n_clean_correct"),
    "gradient_vanished": ("vanished", "n"),
}
"""Every rate by its column: the counts in a row that it is the quotient of."""
OPTIONAL_COUNTS = {"n_flagged", "n_queries", "missed", "only_feature_paths_correct", "only_undefended_correct"}
"""Columns of counts that not every row has."""
GROUP_COUNTS = ["n_successful", "n_unsuccessful"]


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of some of the rows' columns and of `RATES`, computed from the rows' counts.

    A value that a row lacks is missing. A rate of no images is NaN in [0, 1].
    """
    complete = []
    for row in rows:
        cells = dict(row)
        for column, (successes, count) in RATES.items():
            if column in columns and row.get(successes) is not None:
                part, whole = row[successes], row[count]
                cells |= bounded(column, part / whole if whole else math.nan, *wilson(part, whole))
        complete.append(cells)
    integers = dict.fromkeys(OPTIONAL_COUNTS.intersection(columns), "Int64")
    return pd.DataFrame(complete, columns=columns).astype(integers)


def bounded(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """Return the columns of a value with its 95 % confidence interval."""
    return dict(zip(interval_columns(name), (value, low, high), strict=True))


def interval_columns(*names: str) -> list[str]:
    """Return the names of the columns of values with their intervals."""
    return [f"{name}{ending}" for name in names for ending in ("", "_low", "_high")]


def joined(layers: Iterable[int] | None) -> str | None:
    """Return layer numbers as the tables show them: ``2+3+4``; None for a detector without layers."""
    return None if layers is None else "+".join(map(str, layers))
