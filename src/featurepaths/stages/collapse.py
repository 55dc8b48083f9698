"""Collapse: features of the training images -> PFC1, PFC2 and PFC3 of every layer."""

from dataclasses import asdict
from pathlib import Path

from featurepaths.collapse import measure_collapse
from featurepaths.stages import command
from featurepaths.storage import layers_in, open_hdf5, read_origin, write_json


def main(arguments):
    pooling = read_origin(arguments.features).pooling
    origin = command.origin_of("collapse", arguments, f"collapse/{pooling}", [arguments.features])
    with open_hdf5(arguments.features) as features:
        labels = features["labels"][:]
        classes = features["logits"].shape[1]
        layers = [
            {"layer": number, **asdict(measure_collapse(features[layer], labels, classes))}
            for number, layer in enumerate(layers_in(features), start=1)
        ]
    write_json(arguments.collapse, {"layers": layers}, origin)


def parser():
    made = command.parser(__doc__)
    made.add_argument("--features", type=Path, required=True, help="features of the training images")
    made.add_argument("--collapse", type=Path, required=True, help="the artefact to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
