"""Results in the terminal: the verdict, the main table with a row per network, and any table at a width."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from featurepaths.errors import FeaturePathsError
from featurepaths.report.tables.main import main_table
from featurepaths.report.tables.table import OPTIONAL_COUNTS, TABLES, varying_text
from featurepaths.store.jsonfile import read_json

MAIN_TABLES = ("verdict", "comparison", "accuracy", "checks")
"""Tables that are shown by default, if the experiment makes them."""
MAIN_COLUMN = "adaptive attacks"
"""The column of the main table whose intervals are printed."""
GAP = 2
"""Spaces between columns."""
CONCLUSION = re.compile(r"^## (?P<network>.+?)\n(?:(?!^## ).*\n)*?\*\*(?P<sentence>.+)\*\*$", re.MULTILINE)
"""The heading of a network in the verdict's Markdown, and the sentence in bold that ends its section."""


def print_result(results: Path, console: Console) -> None:
    """Print the verdict's sentence for each network, and the main table, of a folder whose tables are made."""
    tables, names = results / "tables", tables_of(results)
    if "verdict" in names:
        for network, sentence in conclusions((tables / "verdict.md").read_text(encoding="utf-8")):
            console.print(Text.assemble((f"{network}: ", "bold"), sentence))
    table = main_table(read_table(tables / ("comparison.csv" if "comparison" in names else "accuracy.csv")))
    others = table.columns.drop(MAIN_COLUMN, errors="ignore")
    table[others] = table[others].replace(r" \[.*\]", "", regex=True)  # there is no room for all intervals
    console.print(Text("Accuracy in per cent", style="italic"))
    for part in _in_parts(table, console.width):
        console.print(part, "")


def print_places(results: Path, report: Path, console: Console) -> None:
    """Print where the report and the tables of an experiment lie, if they exist."""
    here = Path.cwd()
    for name, path in (("Report", report), ("Tables", results / "tables")):
        if path.exists():
            shown = path.relative_to(here) if path.is_relative_to(here) else path
            console.print(f"{name}: {shown}", markup=False, highlight=False, soft_wrap=True)


def tables_of(results: Path) -> list[str]:
    """Return the names of the tables that the experiment of a folder makes, as its records name them.

    A folder also holds tables that it made before its configuration changed. The record of the comparison counts if
    the recorded configuration compares detectors, or is not there yet.

    Raises
    ------
    FeaturePathsError
        If a record is damaged or of another format.
    """
    record, names = results / "config.json", ["tables"]
    configuration = read_json(record)["configuration"] if record.exists() else None
    if configuration is None or configuration.get("detectors") or configuration.get("adaptive"):
        names.append("comparison")
    paths = [path for name in names if (path := results / "tables" / f"{name}.json").exists()]
    files = [Path(file) for path in paths for file in read_json(path)["files"]]
    return sorted(file.stem for file in files if file.suffix == ".md")


def conclusions(verdict: str) -> list[tuple[str, str]]:
    """Return the networks of a verdict in Markdown, and the sentence that concludes on each."""
    return [(each["network"], each["sentence"]) for each in CONCLUSION.finditer(verdict)]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table from its CSV file, with the types that it had when it was written."""
    columns = pd.read_csv(path, nrows=0).columns
    integers = dict.fromkeys(OPTIONAL_COUNTS.intersection(columns), "Int64")
    return pd.read_csv(path, dtype=integers | dict.fromkeys({"layers", "setting"}.intersection(columns), "str"))


def show_tables(results: Path, names: Sequence[str], console: Console, *, markdown: bool = False) -> None:
    """Print tables of an experiment, at the width of the console, or as the Markdown of their files.

    Parameters
    ----------
    results
        The experiment's folder.
    names
        Tables; none: `MAIN_TABLES`, as far as they exist.

    Raises
    ------
    FeaturePathsError
        If there are no tables, or not one of those named.
    """
    folder = results / "tables"
    existing = [name for name in tables_of(results) if (folder / f"{name}.md").exists()]
    if not existing:
        raise FeaturePathsError(f"{folder} has no tables. Name the folder of an experiment, such as results/digits.")
    shown = names or [name for name in MAIN_TABLES if name in existing]
    if missing := [name for name in shown if name not in existing]:
        raise FeaturePathsError(f"There is no table '{missing[0]}' in {folder}; there are {', '.join(existing)}.")
    for name in shown:
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
        if markdown:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif (path := folder / f"{name}.csv").exists():
            for part in _at_width(name, read_table(path), console.width):
                console.print(part, "")
        else:
            console.print(Markdown(text), "")
    if others := [name for name in existing if name not in shown]:
        more = f"Also: {', '.join(others)} (featurepaths show {results} <table> ...)"
        console.print(more, markup=False, highlight=False, soft_wrap=markdown)


def _at_width(name: str, table: pd.DataFrame, width: int) -> Iterator[RenderableType]:
    """Yield a table's title and notes, and its columns: in several parts with numbered rows where they do not fit."""
    varying, notes = varying_text(table, TABLES[name]["note"])
    yield Text(TABLES[name]["title"], style="bold")
    yield from (Text(note.replace("`", "")) for note in notes)
    yield from _in_parts(varying, width)


def _in_parts(texts: pd.DataFrame, width: int) -> Iterator[Table]:
    """Yield a table's columns, in several parts with numbered rows where they do not fit a width."""
    numbers = pd.Series(range(1, len(texts) + 1), index=texts.index).map(str)
    parts = _parts(texts, width)
    for columns in parts:
        part = texts[columns]
        yield _as_rich(part if len(parts) == 1 else pd.concat([numbers.rename("row"), part], axis=1), width)


def _parts(texts: pd.DataFrame, width: int) -> list[list[str]]:
    """Return the columns of a table in groups that fit a width, the number of the row included if there are several."""
    widths = {column: _least_width(texts[column]) + GAP for column in texts}
    if sum(widths.values()) - GAP <= width:
        return [list(texts)]
    parts: list[list[str]] = [[]]
    room = full = width - len("row")
    for column, needed in widths.items():
        if needed > room and parts[-1]:
            parts.append([])
            room = full
        parts[-1].append(column)
        room -= needed
    return parts


def _least_width(texts: pd.Series) -> int:
    """Return the width of a column's longest word: cells wrap between words, but not a rate from its interval."""
    whole = [text for text in texts if text.endswith("]")]
    words = [word for text in (str(texts.name), *texts) if text not in whole for word in text.split()]
    return max(map(len, [*whole, *words]), default=0)


def _as_rich(texts: pd.DataFrame, width: int) -> Table:
    """Return a table of a width, in which the columns that lack least for their longest cell get that first."""
    widths = {column: _least_width(texts[column]) for column in texts}
    longest = {column: max(map(len, [str(column), *texts[column]])) for column in texts}
    room = width - sum(widths.values()) - GAP * (len(widths) - 1)
    for column in sorted(widths, key=lambda column: longest[column] - widths[column]):
        more = max(0, min(room, longest[column] - widths[column]))
        widths[column] += more
        room -= more
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column in texts:
        table.add_column(str(column), overflow="fold", header_style="bold", width=widths[column])
    for row in texts.itertuples(index=False):
        table.add_row(*map(Text, row))
    return table
