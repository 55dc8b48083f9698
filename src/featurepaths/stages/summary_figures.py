"""Figures over all runs: collapse metrics by layer, training curves."""

import pandas as pd

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
        layers = pd.DataFrame(result.content["layers"], dtype=float)
        collapse.setdefault(result.pooling, {})[str(result.run)] = layers
    for pooling, runs in collapse.items():
        title = f"Collapse by layer, on the training images ({pooling} features)"
        yield f"collapse.{pooling}", title, plots.collapse_by_layer(runs, float(arguments.settings.pfc3_threshold))
    if arguments.training:
        for checkpoint in arguments.checkpoints:
            check_files(checkpoint)
        tables = {path.parent.name: pd.read_csv(path) for path in arguments.training}
        yield "training", "Training", plots.training_curves(tables)


if __name__ == "__main__":
    cli.run("summary_figures", main)
