"""Tables: everything that was counted -> CSV, Markdown and HTML tables."""

from featurepaths.experiment.run import Run
from featurepaths.report.results import Result, read_checkpoints, read_results
from featurepaths.report.tables.detection import detection_table
from featurepaths.report.tables.networks import architecture_table, attack_table, collapse_table
from featurepaths.report.tables.paper_numbers import add_paper_numbers
from featurepaths.report.tables.recognition import accuracy_table, combinations_table, recognition_table
from featurepaths.report.tables.summary import summary_table
from featurepaths.report.tables.table import write_tables
from featurepaths.stages import cli
from featurepaths.store.hdf5 import open_hdf5

RECORDS = ("clean_correct", "success", "first_fooled_step", "vanished_steps", "n_queries")
"""The records of an attack that the table of attacks shows, apart from those of its stopping rules."""


def main(arguments):
    origin, settings = cli.origin_of_record(arguments), arguments.settings
    checkpoints = read_checkpoints(arguments.checkpoints)
    recognition = read_results(arguments.recognition)
    attacks = (result for path in arguments.attacks for result in read_attack(path, settings.stopping_rules))
    tables = {
        "architecture": architecture_table(checkpoints),
        "recognition": recognition_table(recognition),
        "combinations": combinations_table(recognition),
        "detection": detection_table(read_results(arguments.detection)),
        "attacks": attack_table(attacks),
        "collapse": collapse_table(read_results(arguments.collapse)),
    }
    tables["summary"] = summary_table("summary", tables, settings.groups)
    tables["accuracy"] = accuracy_table(tables["recognition"])
    if settings.paper_attacks:
        add_paper_numbers(tables, checkpoints, settings.paper_attacks)
    cli.write_record(arguments.record, origin, write_tables(tables, arguments.record.parent))


def read_attack(path, stopping_rules):
    """Return the records in an attack's artefact, `<run>/attacks/<split>.<attack>.h5`, for each stopping rule."""
    run, attack = Run.parse(path.parts[-3]), path.stem.split(".")[1]
    with open_hdf5(path) as file:
        records = {name: file[name][:] for name in RECORDS}
        return [
            Result(run, records | {name: file[rule][name][:] for name in ("loss", "norm")}, None, None, attack, rule)
            for rule in stopping_rules[attack]
        ]


if __name__ == "__main__":
    cli.run("tables", main)
