"""Comparison: what attackers who know the defence left, and rival detectors -> tables, and the verdict in words."""

from pathlib import Path

from featurepaths.report.tables import adaptive as adaptive_tables
from featurepaths.report.tables.controls import checks_table, controls_table
from featurepaths.report.tables.detection import calibration_matrix_table, detector_table
from featurepaths.report.tables.render import render
from featurepaths.report.tables.summary import adaptive_summary_table
from featurepaths.report.verdict.text import verdict, verdict_page
from featurepaths.stages import cli
from featurepaths.stages.tables import read_run, write_texts
from featurepaths.store.jsonfile import read_json


def main(arguments):
    inputs = [
        *arguments.checkpoints,
        *arguments.rivals,
        *arguments.adaptive,
        *arguments.records,
        *arguments.controls,
    ]
    origin = cli.origin_of_record("comparison", arguments, inputs)
    runs = {path.parent.name: read_run(path) for path in arguments.checkpoints}
    rivals = [(runs[path.parts[-4]], path.parent.name, read_json(path)) for path in arguments.rivals]
    adaptive, controls = (
        [(runs[path.parts[-3]], path.stem, read_json(path)) for path in paths]
        for paths in (arguments.adaptive, arguments.controls)
    )
    tables = {
        "detectors": detector_table(rivals, adaptive),
        "calibration_matrix": calibration_matrix_table(rivals),
    }
    texts = {}
    if adaptive:
        tables["comparison"] = adaptive_tables.comparison_table(adaptive)
        tables["evasion"] = adaptive_tables.evasion_table(adaptive)
        summarised = [tables[name] for name in ("comparison", "evasion", "detectors")]
        tables["adaptive_summary"] = adaptive_summary_table(*summarised, arguments.settings["groups"])
        texts |= render("adaptive", adaptive_tables.adaptive_table(adaptive), adaptive_tables.omitted_attacks(adaptive))
        texts |= {"verdict.md": verdict(adaptive, controls), "verdict.html": verdict_page(adaptive, controls)}
    if controls:
        tables["controls"] = controls_table(controls)
        tables["checks"] = checks_table(controls)
    for name, table in tables.items():
        texts |= render(name, table)
    write_texts(arguments.record, origin, texts)


def parser():
    made = cli.parser(__doc__, "groups: by attack, the first one that differs from it in its seed only")
    some, any_number = {"type": Path, "nargs": "+", "required": True}, {"type": Path, "nargs": "*", "default": []}
    made.add_argument("--checkpoints", **some, help="the checkpoint of every run")
    made.add_argument("--rivals", **some, help="the metrics of all detectors, of every run and pooling")
    made.add_argument("--adaptive", **any_number, help="the worst case of every run and pooling that was attacked")
    made.add_argument("--records", **any_number, help="all attacks on them, in the same order")
    made.add_argument("--controls", **any_number, help="the controls of those attacks")
    made.add_argument(
        "--record", type=Path, required=True, help="the record to write; the tables are written beside it"
    )
    return made


if __name__ == "__main__":
    cli.run(main, parser())
