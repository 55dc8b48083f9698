"""A table of the report: built from rows of counts, and written as CSV, Markdown and HTML with its title and note."""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from featurepaths.report.datatables.library import MANY_ROWS, sorting
from featurepaths.report.page import page
from featurepaths.statistics.metrics import wilson
from featurepaths.store.atomic import atomic

TABLES = tomllib.loads(files(__package__).joinpath("tables.toml").read_text(encoding="utf-8"))
"""The `title`, the `note` and the `columns` of every table."""
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
BOUNDS = ("_low", "_high")
"""Ends of the names of the columns of intervals."""
OPTIONAL_COUNTS = {"n_flagged", "n_queries", "missed", "only_feature_paths_correct", "only_undefended_correct"}
"""Columns of counts that not every row has."""


def build(name: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table of `TABLES`: its columns of the rows, and the `RATES` among them computed from the rows' counts.

    A value that a row lacks is missing. A rate of no images is NaN in [0, 1].
    """
    columns = columns_of(name)
    complete = []
    for row in rows:
        cells = dict(row)
        for column, (successes, count) in RATES.items():
            if column in columns and row.get(successes) is not None:
                part, total = row[successes], row[count]
                cells |= bounded(column, part / total if total else math.nan, *wilson(part, total))
        complete.append(cells)
    integers = dict.fromkeys(OPTIONAL_COUNTS.intersection(columns), "Int64")
    return pd.DataFrame(complete, columns=columns).astype(integers)


def columns_of(name: str) -> list[str]:
    """Return the columns of a table of `TABLES`."""
    columns = []
    for column in TABLES[name]["columns"].split():
        columns += interval_columns(column.rstrip("*")) if column.endswith("*") else [column]
    return columns


def interval_columns(name: str) -> list[str]:
    """Return the names of the columns of a value and of its interval."""
    return [name, f"{name}_low", f"{name}_high"]


def bounded(name: str, value: float, low: float, high: float) -> dict[str, float]:
    """Return the columns of a value with its 95 % confidence interval."""
    return dict(zip(interval_columns(name), (value, low, high), strict=True))


def joined(layers: Iterable[int] | None) -> str | None:
    """Return layer numbers as the tables show them: ``2+3+4``; None for a detector without layers."""
    return None if layers is None else "+".join(map(str, layers))


def render(name: str, table: pd.DataFrame) -> dict[str, str]:
    """Return the texts of a table by file name: ``<name>.csv``, ``<name>.md`` and ``<name>.html``.

    Values that all rows share stand above the table in Markdown and HTML. With more than `MANY_ROWS` rows, the table in
    HTML sorts and filters.

    Parameters
    ----------
    name
        A table of `TABLES`.
    table
        Rates are fractions. The ``remark`` in its ``attrs``, if any, is appended to the table's note.
    """
    title, note = TABLES[name]["title"], note_of(name, table)
    varying, notes = varying_text(table, note)
    html = ["<p>" + re.sub("`(.*?)`", r"<code>\1</code>", escape(text)) + "</p>" for text in notes]
    head = sorting() if len(table) > MANY_ROWS else ""
    markdown = [f"# {title}", *notes, varying.to_markdown(index=False, disable_numparse=True)]
    return {
        f"{name}.csv": table.to_csv(index=False),
        f"{name}.md": "\n\n".join(markdown) + "\n",
        f"{name}.html": page(title, "\n".join([*html, varying.to_html(index=False, border=0)]), head),
    }


def note_of(name: str, table: pd.DataFrame) -> str:
    """Return the note of a table of `TABLES`, with its remark."""
    return TABLES[name]["note"] + table.attrs.get("remark", "")


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as people read it: rates in per cent with their intervals, missing values empty."""
    columns = {_label(column): _formatted(table, column) for column in table if not column.endswith(BOUNDS)}
    return pd.DataFrame(columns, index=table.index)


def varying_text(table: pd.DataFrame, note: str) -> tuple[pd.DataFrame, list[str]]:
    """Return a table as text, without the columns whose value all rows share, and its notes, which name these."""
    shared = [column for column in table if _is_shared(table[column]) and not column.endswith(BOUNDS)]
    varying, notes = as_text(table).drop(columns=map(_label, shared)), [note]
    if shared:
        values = (f"{_label(column)} `{table[column].dropna().iloc[0]}`" for column in shared)
        notes.append(f"Shared by all rows to which they apply: {', '.join(values)}.")
    return varying, notes


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> list[str]:
    """Write the texts of tables, and return the names of the files."""
    return [file for name, table in tables.items() for file in write_texts(render(name, table), folder)]


def write_texts(texts: Mapping[str, str], folder: Path) -> list[str]:
    """Write texts to files of these names, and return the names."""
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(texts)


def _label(column: str) -> str:
    return column.replace("_", " ")


def _is_shared(values: pd.Series) -> bool:
    """Return whether all rows that have a value of a column have the same, which is no measured number."""
    return len(values) > 1 and values.nunique() == 1 and not pd.api.types.is_float_dtype(values)


def _formatted(table: pd.DataFrame, column: str) -> pd.Series:
    """Return a column as text: rates in per cent with their intervals, missing values empty."""
    values, bounds = table[column], [f"{column}_low", f"{column}_high"]
    if bounds[0] in table or column == "sd":
        text = (100 * values).map("{:.1f}".format)
    elif column.startswith("paper_") and column != "paper_threshold":
        text = (100 * values).map("{:.2f}".format)
    elif pd.api.types.is_float_dtype(values):
        text = values.map("{:.4f}".format)
    else:
        text = values.map(str)
    if column.endswith("_p"):
        text = text.mask(values < 0.0001, "<0.0001")
    if bounds[0] in table:
        low, high = ((100 * table[bound]).map("{:.1f}".format) for bound in bounds)
        text = text.where(table[bounds[0]].isna(), text + " [" + low + ", " + high + "]")
    return text.where(values.notna(), "")
