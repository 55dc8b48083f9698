"""A table as CSV, Markdown and HTML text, with its title and caption. CSV has fractions, the others per cent."""

import math
import re
import tomllib
from html import escape
from importlib.resources import files

import pandas as pd

from featurepaths.report.page import page

CAPTIONS = tomllib.loads(files(__package__).joinpath("captions.toml").read_text(encoding="utf-8"))
"""The `title` and the `note` of every table."""


def render(name: str, table: pd.DataFrame, remark: str = "") -> dict[str, str]:
    """Return the texts of a table by file name: ``<name>.csv``, ``<name>.md`` and ``<name>.html``.

    Parameters
    ----------
    name
        A table of `CAPTIONS`.
    table
        Rates are fractions.
    remark
        Is appended to the table's note.
    """
    title, note = CAPTIONS[name]["title"], CAPTIONS[name]["note"] + remark
    return {
        f"{name}.csv": table.to_csv(index=False),
        f"{name}.md": to_markdown(table, title, note),
        f"{name}.html": to_html(table, title, note),
    }


def to_markdown(table: pd.DataFrame, title: str, note: str) -> str:
    """Return a table as Markdown: rates in per cent with intervals; values shared by all rows stand above it."""
    varying, shared = _split_columns(table)
    text = "\n\n".join([f"# {title}", note, *shared, varying.to_markdown(index=False, disable_numparse=True)])
    return f"{text}\n"


def to_html(table: pd.DataFrame, title: str, note: str) -> str:
    """Return the same as a complete HTML page."""
    varying, shared = _split_columns(table)
    paragraphs = [re.sub("`(.*?)`", r"<code>\1</code>", escape(text)) for text in [note, *shared]]
    body = [f"<p>{paragraph}</p>" for paragraph in paragraphs]
    return page(title, "\n".join([*body, varying.to_html(index=False, border=0)]))


def _split_columns(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns whose values differ, formatted, and a sentence about the others, if there are any."""
    varying, shared = pd.DataFrame(index=table.index), []
    for column in table.columns:
        name, values = column.replace("_", " "), table[column].dropna()
        if column.endswith(("_low", "_high")):
            continue
        if len(table) > 1 and values.nunique() == 1 and not pd.api.types.is_float_dtype(values):
            shared.append(f"{name} `{values.iloc[0]}`")
        else:
            varying[name] = _formatted(table, column)
    return varying, [f"Shared by all rows to which they apply: {', '.join(shared)}."] if shared else []


def _formatted(table: pd.DataFrame, column: str) -> pd.Series:
    values = table[column]
    if f"{column}_low" in table:
        bounds = zip(values, table[f"{column}_low"], table[f"{column}_high"], strict=True)
        return pd.Series([_per_cent(*bound) for bound in bounds], index=table.index, dtype=object)
    if column == "sd":
        return values.map(_per_cent)
    if column.startswith("paper_") and column != "paper_threshold":
        return values.map(lambda value: "" if pd.isna(value) else f"{100 * value:.2f}")
    if pd.api.types.is_float_dtype(values):
        smallest = 0.0001 if column.endswith("_p") else -math.inf
        return values.map(lambda value: "" if pd.isna(value) else "<0.0001" if value < smallest else f"{value:.4f}")
    return values.astype(object).where(values.notna(), "").map(str)


def _per_cent(value: float, low: float = math.nan, high: float = math.nan) -> str:
    if pd.isna(value):
        return ""
    return f"{100 * value:.1f}" if pd.isna(low) else f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
