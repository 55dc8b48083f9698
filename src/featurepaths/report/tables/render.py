"""A table as CSV, Markdown and HTML text, with its title and caption. CSV has fractions, the others per cent."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path

import pandas as pd

from featurepaths.report.page import page
from featurepaths.store.atomic import atomic

CAPTIONS = tomllib.loads(files(__package__).joinpath("captions.toml").read_text(encoding="utf-8"))
"""The `title` and the `note` of every table."""


def render(name: str, table: pd.DataFrame, remark: str = "") -> dict[str, str]:
    """Return the texts of a table by file name: ``<name>.csv``, ``<name>.md`` and ``<name>.html``.

    Values that all rows share stand above the table in Markdown and HTML.

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
    varying, shared = _split_columns(table)
    notes = [note, f"Shared by all rows to which they apply: {', '.join(shared)}."] if shared else [note]
    html = ["<p>" + re.sub("`(.*?)`", r"<code>\1</code>", escape(text)) + "</p>" for text in notes]
    markdown = [f"# {title}", *notes, varying.to_markdown(index=False, disable_numparse=True)]
    return {
        f"{name}.csv": table.to_csv(index=False),
        f"{name}.md": "\n\n".join(markdown) + "\n",
        f"{name}.html": page(title, "\n".join([*html, varying.to_html(index=False, border=0)])),
    }


def write_texts(texts: Mapping[str, str], folder: Path) -> Iterable[str]:
    """Write texts to files of these names, and return the names."""
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return texts.keys()


def _split_columns(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns whose values differ, as text, and the names and values of the others."""
    varying, shared = pd.DataFrame(index=table.index), []
    for column in table.columns:
        name, values = column.replace("_", " "), table[column].dropna()
        if column.endswith(("_low", "_high")):
            continue
        if len(table) > 1 and values.nunique() == 1 and not pd.api.types.is_float_dtype(values):
            shared.append(f"{name} `{values.iloc[0]}`")
        else:
            varying[name] = _formatted(table, column)
    return varying, shared


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
