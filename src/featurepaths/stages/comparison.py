"""Comparison: what attackers who know the defence left, and rival detectors -> tables, and the verdict in words."""

from contextlib import ExitStack
from pathlib import Path

from featurepaths.report import comparison as make
from featurepaths.report.summary import adaptive_summary_table
from featurepaths.report.tables import to_html, to_markdown
from featurepaths.report.verdict import verdict, verdict_page
from featurepaths.stages import cli
from featurepaths.stages.tables import read_run
from featurepaths.store.atomic import atomic
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json

VERDICT = "verdict"


def main(arguments):
    inputs = [
        *arguments.checkpoints,
        *arguments.detectors,
        *arguments.adaptive,
        *arguments.records,
        *arguments.controls,
    ]
    origin = cli.origin_of_record("comparison", arguments, inputs)
    runs = {path.parent.name: read_run(path) for path in arguments.checkpoints}
    detectors = [(runs[path.parts[-4]], path.parent.name, read_json(path)) for path in arguments.detectors]
    adaptive, controls = (
        [(runs[path.parts[-3]], path.stem, read_json(path)) for path in paths]
        for paths in (arguments.adaptive, arguments.controls)
    )
    folder = arguments.record.parent
    with ExitStack() as stack:
        records = {f"{path.parts[-3]}/{path.stem}": stack.enter_context(open_hdf5(path)) for path in arguments.records}
        tables = {
            "detectors": make.detector_table(detectors, adaptive),
            "calibration_matrix": make.calibration_matrix_table(detectors),
        }
        if adaptive:
            tables["adaptive"] = make.adaptive_table(adaptive)
            tables["comparison"] = make.comparison_table(adaptive, records)
            tables["evasion"] = make.evasion_table(adaptive)
            shown = [tables[name] for name in ("comparison", "evasion", "detectors")]
            tables["adaptive_summary"] = adaptive_summary_table(*shown, arguments.settings["groups"])
        if controls:
            tables["controls"] = make.controls_table(controls)
            tables["checks"] = make.checks_table(controls)
    texts = {}
    for name, table in tables.items():
        title = make.title_of(name, adaptive)
        texts[f"{name}.md"] = to_markdown(table, *title)
        texts[f"{name}.html"] = to_html(table, *title)
        texts[f"{name}.csv"] = table.to_csv(index=False)
    if adaptive:
        texts[f"{VERDICT}.md"] = verdict(adaptive, controls)
        texts[f"{VERDICT}.html"] = verdict_page(adaptive, controls)
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    cli.write_record(arguments.record, origin, texts)


def parser():
    made = cli.parser(__doc__, "groups: by attack, the first one that differs from it in its seed only")
    some, any_number = {"type": Path, "nargs": "+", "required": True}, {"type": Path, "nargs": "*", "default": []}
    made.add_argument("--checkpoints", **some, help="the checkpoint of every run")
    made.add_argument("--detectors", **some, help="the metrics of all detectors, of every run and pooling")
    made.add_argument("--adaptive", **any_number, help="the worst case of every run and pooling that was attacked")
    made.add_argument("--records", **any_number, help="all attacks on them, in the same order")
    made.add_argument("--controls", **any_number, help="the controls of those attacks")
    made.add_argument(
        "--record", type=Path, required=True, help="the record to write; the tables are written beside it"
    )
    return made


if __name__ == "__main__":
    cli.run(main, parser())
