"""Figures over all runs: collapse metrics by layer, training curves."""

from functools import partial

import numpy as np

from featurepaths.report.figures import networks as plots
from featurepaths.report.figures.style import save
from featurepaths.report.results import read_results
from featurepaths.stages import cli
from featurepaths.store.provenance import check_files


def main(arguments):
    origin = cli.origin_of_record(arguments)
    cli.write_record(arguments.record, origin, save(figures(arguments), arguments.record.parent))


def figures(arguments):
    """Yield the name, the title and the figure of each figure."""
    collapse = {}
    for result in read_results(arguments.collapse):
        layers = result.content["layers"]
        table = np.array([tuple(layer.values()) for layer in layers], [(name, float) for name in layers[0]])
        collapse.setdefault(result.pooling, {})[str(result.run)] = table
    for pooling, runs in collapse.items():
        title = f"Collapse by layer, on the training images ({pooling} features)"
        yield f"collapse.{pooling}", title, plots.collapse_by_layer(runs, float(arguments.settings.pfc3_threshold))
    if arguments.training:
        for checkpoint in arguments.checkpoints:
            check_files(checkpoint)
        read_table = partial(np.genfromtxt, delimiter=",", names=True, ndmin=1)
        tables = {path.parent.name: read_table(path) for path in arguments.training}
        yield "training", "Training curves", plots.training_curves(tables)


if __name__ == "__main__":
    cli.run("summary_figures", main)
