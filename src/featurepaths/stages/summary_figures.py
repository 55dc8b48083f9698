"""Figures over all runs: collapse metrics by layer, training curves."""

import csv

from featurepaths.stages import cli
from featurepaths.store.jsonfile import read_json
from featurepaths.store.provenance import check_files


def main(arguments):
    from featurepaths.report.figures import networks as plots
    from featurepaths.report.figures.style import KINDS, save

    origin = cli.origin_of_record(arguments)
    collapse = {}
    for path in arguments.collapse:
        collapse.setdefault(path.stem, {})[path.parts[-3]] = read_json(path)["layers"]
    threshold = float(arguments.settings.pfc3_threshold)
    folder = arguments.record.parent
    for pooling, runs in collapse.items():
        title = f"Collapse by layer, on the training images ({pooling} features)"
        save(plots.collapse_by_layer(runs, threshold), title, folder / f"collapse.{pooling}")
    names = [f"collapse.{pooling}" for pooling in collapse]
    if arguments.training:
        for checkpoint in arguments.checkpoints:
            check_files(checkpoint)
        tables = {path.parent.name: read_columns(path) for path in arguments.training}
        save(plots.training_curves(tables), "Training", folder / "training")
        names.append("training")
    cli.write_record(arguments.record, origin, (f"{name}.{kind}" for name in names for kind in KINDS))


def read_columns(path):
    """Return a CSV file's columns as numbers, by their names."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


if __name__ == "__main__":
    cli.run("summary_figures", main)
