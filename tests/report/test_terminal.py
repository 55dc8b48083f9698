"""Results in the terminal: they are those of the CSV files, and fit its width."""

import io

import pandas as pd
import pytest
from rich.console import Console

from featurepaths.errors import FeaturePathsError
from featurepaths.report.tables.main import main_table
from featurepaths.report.tables.table import TABLES
from featurepaths.report.terminal import (
    conclusions,
    print_places,
    print_result,
    read_table,
    show_tables,
    tables_of,
)
from featurepaths.store.jsonfile import write_json
from featurepaths.store.origin import Origin

COUNTS = (64, 128)
ORIGIN = Origin("tables", "digest", {}, [])


def rate(column, share):
    """The columns of a rate and of its interval."""
    return {f"{column}{end}": share + shift for end, shift in (("", 0), ("_low", -0.1), ("_high", 0.1))}


def comparison(folder, poolings=("flatten",)):
    """Write a `comparison.csv` of one network, as the stage does, and return its accuracies."""
    rows = []
    for pooling in poolings:
        shared = {"model": "net", "training": "standard", "seed": 0, "pooling": pooling, "protocol": "held-out"}
        for method, threat, rule, share in [
            ("undefended", "adaptive", None, 0.125),
            ("feature paths", "oblivious", "max-loss", 0.5),
            ("feature paths", "oblivious", "first-success", 0.75),
            ("feature paths", "adaptive", None, 0.25),
        ]:
            row = {**shared, "method": method, "threat": threat, "stopping_rule": rule, "n": 8}
            rows.append(row | rate("clean_accuracy", 0.875) | rate("adversarial_accuracy", share))
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "comparison.csv", index=False)


def printed(function, *arguments, width=80, **options):
    console = Console(file=io.StringIO(), width=width)
    function(*arguments, console, **options)
    return console.file.getvalue()


def rows_of_main_table(path):
    return main_table(read_table(path)).to_dict("records")


def test_main_table_has_row_per_network_with_adaptive_accuracy(tmp_path):
    comparison(tmp_path)
    clean = "87.5 [77.5, 97.5]"
    assert rows_of_main_table(tmp_path / "comparison.csv") == [
        {
            "network": "net-standard-s0",
            "no attack": clean,
            "oblivious attacks": "50.0 to 75.0",
            "adaptive attacks": "25.0 [15.0, 35.0]",
            "network alone, no attack": clean,
            "network alone, adaptive attacks": "12.5 [2.5, 22.5]",
        }
    ]
    comparison(tmp_path, ["flatten", "mean"])
    assert [row["pooling"] for row in rows_of_main_table(tmp_path / "comparison.csv")] == ["flatten", "mean"]


def test_printed_main_table_has_the_interval_of_adaptive_accuracy_alone(tmp_path):
    comparison(tmp_path / "tables")
    write_json(tmp_path / "tables/comparison.json", {"files": {"comparison.md": ""}}, ORIGIN)
    (line,) = [line for line in printed(print_result, tmp_path).splitlines() if line.startswith("net-standard-s0")]
    assert " ".join(line.split()) == "net-standard-s0 87.5 50.0 to 75.0 25.0 [15.0, 35.0] 87.5 12.5"


def oblivious(folder):
    """Write an `accuracy.csv` of one network, as the stage does."""
    rows = [
        {"method": "undefended"} | rate("adversarial_accuracy", 0.1),
        {"method": "feature paths", "pooling": "mean", "protocol": "paper"} | rate("adversarial_accuracy", 0.9),
        {"method": "feature paths", "pooling": "mean", "protocol": "held-out"} | rate("adversarial_accuracy", 0.4),
    ]
    shared = {"model": "net", "training": "standard", "seed": 1, "threat": "oblivious"} | rate("clean_accuracy", 0.8)
    pd.DataFrame([shared | row for row in rows]).to_csv(folder / "accuracy.csv", index=False)


def test_main_table_without_adaptive_evaluation_says_that_attacks_are_oblivious(tmp_path):
    oblivious(tmp_path)
    (row,) = rows_of_main_table(tmp_path / "accuracy.csv")
    clean = "80.0 [70.0, 90.0]"
    assert list(row.values()) == ["net-standard-s1", clean, "40.0 [30.0, 50.0]", clean, "10.0 [0.0, 20.0]"]
    assert [name for name in row if "attacks" in name] == ["oblivious attacks", "network alone, oblivious attacks"]


def test_conclusions_of_verdict_are_the_bold_sentences_of_networks():
    text = (
        "# Title\n\n**The largest drop.**\n\nText.\n\n"
        "## a-standard-s0, mean features\n\nNumbers.\n\n**Nothing remains.**\n\n"
        "## b-standard-s0, mean features\n\nNumbers.\n\n**Some remains: 3.0 %.**\n\n"
        "## Over seeds\n\na-standard, mean features.\n"
    )
    assert conclusions(text) == [
        ("a-standard-s0, mean features", "Nothing remains."),
        ("b-standard-s0, mean features", "Some remains: 3.0 %."),
    ]


def test_result_of_a_run_names_networks_report_and_tables(tiny):
    text = printed(print_result, tiny.results)
    verdict = (tiny.results / "tables/verdict.md").read_text()
    stated = conclusions(verdict)
    assert len(stated) == 2
    for network, sentence in stated:
        assert " ".join(f"{network}: {sentence}".split()) in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert printed(print_places, tiny.results, tiny.results / "none.html") == f"Tables: {tiny.results / 'tables'}\n"


def test_tables_of_an_earlier_configuration_are_not_shown(tmp_path):
    results, tables = tmp_path / "results", tmp_path / "results/tables"
    comparison(tables)
    oblivious(tables)
    (tables / "verdict.md").write_text("## net-standard-s0\n\n**Nothing remains.**\n")
    for name in ("comparison", "accuracy", "gone"):
        (tables / f"{name}.md").write_text(name)
    write_json(tables / "tables.json", {"files": {"accuracy.csv": "", "accuracy.md": ""}}, ORIGIN)
    files = dict.fromkeys(["comparison.csv", "comparison.md", "verdict.md"], "")
    write_json(tables / "comparison.json", {"files": files}, ORIGIN)
    for settings in ({"adaptive": None, "detectors": {}}, {"adaptive": {"poolings": ["flatten"]}}):
        write_json(results / "config.json", {"configuration": settings}, ORIGIN)
        adaptive = bool(settings["adaptive"])
        assert tables_of(results) == (["accuracy", "comparison", "verdict"] if adaptive else ["accuracy"])
        result = printed(print_result, results)
        assert ("Nothing remains" in result) == ("25.0" in result) == adaptive
        assert ("Nothing remains" in printed(show_tables, results, [], markdown=True)) == adaptive
        assert "gone" not in printed(show_tables, results, [], markdown=True)
    with pytest.raises(FeaturePathsError, match="gone"):
        printed(show_tables, results, ["gone"])


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_table_fits_the_width_and_has_all_cells_of_its_file(tiny, width):
    for path in sorted((tiny.results / "tables").glob("*.csv")):
        text = printed(show_tables, tiny.results, [path.stem], width=width)
        assert max(map(len, text.splitlines())) <= width, path.stem
        assert TABLES[path.stem]["title"].split()[0] in text
        words = set("".join(text.split()))
        assert words
        markdown = (path.with_suffix(".md")).read_text().split("\n|")[3:]
        cells = {cell.strip() for line in markdown for cell in line.strip("|\n ").split("|")}
        rates = {cell for cell in cells if cell.endswith("]") and "[" in cell}
        assert all(rate in text for rate in rates), path.stem


def test_table_read_from_csv_has_counts_as_integers(tiny):
    table = read_table(tiny.results / "tables/accuracy.csv")
    assert table["n_flagged"].dropna().map(str).str.isdecimal().all()
    assert "1+2" in table["layers"].dropna().iloc[0]


def test_markdown_is_that_of_the_files(tiny):
    text = printed(show_tables, tiny.results, ["checks"], markdown=True)
    assert (tiny.results / "tables/checks.md").read_text() in text
