"""Comparison: results of attackers who know the defence, and rival detectors -> tables, and the verdict in words."""

from featurepaths.report.results import read_checkpoints, read_results
from featurepaths.report.tables import adaptive as adaptive_tables
from featurepaths.report.tables.detection import calibration_matrix_table, detector_table
from featurepaths.report.tables.main import main_table
from featurepaths.report.tables.summary import summary_table
from featurepaths.report.tables.table import write_tables, write_texts
from featurepaths.report.verdict.rules import cases_of
from featurepaths.report.verdict.text import answer, verdict, verdict_page
from featurepaths.stages import cli


def main(arguments):
    origin = cli.origin_of_record(arguments)
    evaluations, adaptive, controls = map(read_results, (arguments.evaluations, arguments.adaptive, arguments.controls))
    tables, texts = {"detectors": detector_table(evaluations, adaptive)}, {}
    tables["calibration_matrix"] = calibration_matrix_table(evaluations)
    if adaptive:
        tables["comparison"] = adaptive_tables.comparison_table(adaptive)
        tables["evasion"] = adaptive_tables.evasion_table(adaptive)
        tables["adaptive_summary"] = summary_table("adaptive_summary", tables, arguments.settings.groups)
        tables["adaptive"] = adaptive_tables.adaptive_table(adaptive)
        cases = cases_of(adaptive, controls, read_checkpoints(arguments.checkpoints))
        first_page = answer(cases, main_table(tables["comparison"]))
        texts = {"verdict.md": verdict(cases), "verdict.html": verdict_page(cases), "answer.html": first_page}
    if controls:
        tables["controls"] = adaptive_tables.controls_table(controls)
        tables["checks"] = adaptive_tables.checks_table(controls)
    folder = arguments.record.parent
    cli.write_record(arguments.record, origin, write_tables(tables, folder) + write_texts(texts, folder))


if __name__ == "__main__":
    cli.run("comparison", main)
