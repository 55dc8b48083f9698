"""Comparison: what attackers who know the defence left, and rival detectors -> tables, and the verdict in words."""

from contextlib import ExitStack

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
    origin = cli.origin_of_record(arguments)
    runs = {path.parent.name: read_run(path) for path in arguments.checkpoints}
    rivals = [(runs[path.parts[-4]], path.parent.name, read_json(path)) for path in arguments.evaluations]
    adaptive, controls = (
        [(runs[path.parts[-3]], path.stem, read_json(path)) for path in paths]
        for paths in (arguments.adaptive, arguments.controls)
    )
    folder = arguments.record.parent
    with ExitStack() as stack:
        records = {f"{path.parts[-3]}/{path.stem}": stack.enter_context(open_hdf5(path)) for path in arguments.records}
        tables = {
            "detectors": make.detector_table(rivals, adaptive),
            "calibration_matrix": make.calibration_matrix_table(rivals),
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


if __name__ == "__main__":
    cli.run("comparison", main)
