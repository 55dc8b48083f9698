"""Comparison: what attackers who know the defence left, and rival detectors -> tables, and the verdict in words."""

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
    origin = cli.origin_of_record(arguments)
    runs = {path.parent.name: read_run(path) for path in arguments.checkpoints}
    rivals = [(runs[path.parts[-4]], path.parent.name, read_json(path)) for path in arguments.evaluations]
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
        tables["adaptive_summary"] = adaptive_summary_table(*summarised, arguments.settings.groups)
        texts |= render("adaptive", adaptive_tables.adaptive_table(adaptive), adaptive_tables.omitted_attacks(adaptive))
        texts |= {"verdict.md": verdict(adaptive, controls), "verdict.html": verdict_page(adaptive, controls)}
    if controls:
        tables["controls"] = controls_table(controls)
        tables["checks"] = checks_table(controls)
    for name, table in tables.items():
        texts |= render(name, table)
    write_texts(arguments.record, origin, texts)


if __name__ == "__main__":
    cli.run("comparison", main)
