"""Collapse: features of the training images -> PFC1, PFC2 and PFC3 of every layer."""

from dataclasses import asdict

from featurepaths.paths.collapse import measure_collapse
from featurepaths.stages import cli
from featurepaths.store.hdf5 import layers_in, open_hdf5
from featurepaths.store.jsonfile import write_json


def main(arguments):
    output = cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    with open_hdf5(arguments.features) as features:
        labels = features["labels"][:]
        classes = features["logits"].shape[1]
        layers = [
            {"layer": number, **asdict(measure_collapse(features[layer], labels, classes))}
            for number, layer in enumerate(layers_in(features), start=1)
        ]
    write_json(output.path, {"layers": layers}, origin)


if __name__ == "__main__":
    cli.run("collapse", main)
