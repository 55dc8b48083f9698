"""Tables: everything that was counted -> CSV, Markdown and HTML tables."""

from featurepaths.experiment import run as names
from featurepaths.report.results import Evaluation, Run
from featurepaths.report.tables.detection import detection_table
from featurepaths.report.tables.networks import architecture_table, attack_table, collapse_table
from featurepaths.report.tables.paper_numbers import add_paper_numbers
from featurepaths.report.tables.recognition import accuracy_table, combinations_table, recognition_table
from featurepaths.report.tables.render import render
from featurepaths.report.tables.summary import summary_table
from featurepaths.stages import cli
from featurepaths.store.atomic import atomic
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_description, read_json


def main(arguments):
    origin = cli.origin_of_record(arguments)
    runs = {path.parent.name: read_run(path) for path in arguments.checkpoints}
    recognition = [read_evaluation(path, runs) for path in arguments.recognition]
    tables = {
        "architecture": architecture_table(runs.values()),
        "recognition": recognition_table(recognition),
        "combinations": combinations_table(recognition),
        "detection": detection_table(read_evaluation(path, runs) for path in arguments.detection),
        "attacks": attack_table(
            read_attack(path, runs, arguments.settings["stopping_rule"]) for path in arguments.attacks
        ),
        "collapse": collapse_table((runs[path.parts[-3]], path.stem, read_json(path)) for path in arguments.collapse),
    }
    tables["summary"] = summary_table(tables["recognition"], tables["detection"], arguments.settings["groups"])
    tables["accuracy"] = accuracy_table(tables["recognition"])
    if arguments.settings["paper_attacks"]:
        add_paper_numbers(tables, runs.values(), arguments.settings["paper_attacks"])
    texts = {}
    for name, table in tables.items():
        texts |= render(name, table)
    write_texts(arguments.record, origin, texts)


def write_texts(record, origin, texts):
    """Write files beside a record, by name, and then the record."""
    for name, text in texts.items():
        with atomic(record.with_name(name)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    cli.write_record(record, origin, texts)


def read_run(checkpoint):
    """Return a run by its checkpoint, `<model>-<training>-s<seed>/checkpoint.safetensors`."""
    return Run(*names.Run.parse(checkpoint.parent.name), read_description(checkpoint))


def read_attack(path, runs, stopping_rules):
    """Return the run, the attack's name and its records by its artefact, `<run>/attacks/<split>.<attack>.h5`."""
    attack = path.stem.split(".")[1]
    with open_hdf5(path) as file:
        records = {name: file[name][:] for name in ("clean_correct", "success", "first_fooled_step", "vanished_steps",
                                                    "n_queries")}  # fmt: skip
        records |= {
            stopping_rule: {name: file[stopping_rule][name][:] for name in ("loss", "norm")}
            for stopping_rule in stopping_rules[attack]
        }
    return runs[path.parts[-3]], attack, {**records, "stopping_rules": stopping_rules[attack]}


def read_evaluation(path, runs):
    """Return an evaluation by its metrics, `<run>/<kind>/<pooling>/<detector>.<attack>.<stopping_rule>.json`."""
    detector, attack, stopping_rule = path.stem.split(".")
    return Evaluation(runs[path.parts[-4]], path.parent.name, detector, attack, stopping_rule, read_json(path))


if __name__ == "__main__":
    cli.run("tables", main)
