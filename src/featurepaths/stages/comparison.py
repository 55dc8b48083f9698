"""Comparison: what attackers who know the defence left, and rival detectors -> tables, and the verdict in words."""

from featurepaths.report.results import read_checkpoints, read_results
from featurepaths.report.tables import adaptive as adaptive_tables
from featurepaths.report.tables.detection import calibration_matrix_table, detector_table
from featurepaths.report.tables.summary import adaptive_summary_table
from featurepaths.report.tables.table import write_tables, write_texts
from featurepaths.report.verdict.rules import cases_of
from featurepaths.report.verdict.text import verdict, verdict_page
from featurepaths.stages import cli


def main(arguments):
    origin = cli.origin_of_record(arguments)
    evaluations, adaptive, controls = map(read_results, (arguments.evaluations, arguments.adaptive, arguments.controls))
    detectors, texts = detector_table(evaluations, adaptive), {}
    tables = {"detectors": detectors, "calibration_matrix": calibration_matrix_table(evaluations)}
    if adaptive:
        comparison, evasion = adaptive_tables.comparison_table(adaptive), adaptive_tables.evasion_table(adaptive)
        summary = adaptive_summary_table(comparison, evasion, detectors, arguments.settings["groups"])
        tables |= {"comparison": comparison, "evasion": evasion, "adaptive_summary": summary}
        tables["adaptive"] = adaptive_tables.adaptive_table(adaptive)
        cases = cases_of(adaptive, controls, read_checkpoints(arguments.checkpoints))
        texts = {"verdict.md": verdict(cases), "verdict.html": verdict_page(cases)}
    if controls:
        tables["controls"] = adaptive_tables.controls_table(controls)
        tables["checks"] = adaptive_tables.checks_table(controls)
    folder = arguments.record.parent
    cli.write_record(arguments.record, origin, write_tables(tables, folder) + write_texts(texts, folder))


if __name__ == "__main__":
    cli.run("comparison", main)
