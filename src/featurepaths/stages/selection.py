"""Selection: feature paths of adversarial images -> the layers that vote in recognition, and their weights.

Under the `paper` protocol the images are the test images themselves; under `held-out` they are the calibration images.
"""

from pathlib import Path

from featurepaths.paths.aggregate import weights_of
from featurepaths.paths.records import open_paths
from featurepaths.recognition.selection import best_layers, layer_accuracy
from featurepaths.stages import command
from featurepaths.storage import read_origin, write_json


def main(arguments):
    settings = arguments.settings
    origin_of_paths = read_origin(arguments.adversarial)
    name = f"selection/{origin_of_paths.pooling}/{arguments.selection.stem}"
    origin = command.origin_of("selection", arguments, name, [arguments.adversarial])
    with open_paths(arguments.adversarial) as paths:
        accuracy = layer_accuracy(paths)
        count = len(paths.labels)
    layers = best_layers(accuracy, settings["top"]) if settings["layers"] == "auto" else settings["layers"]
    content = {
        "protocol": settings["protocol"],
        "layers": layers,
        "weights": weights_of(command.fractions(settings["weights"]), len(layers)).tolist(),
        "selected_on": origin_of_paths.name,
        "images": count,
        "layer_accuracy": accuracy.tolist(),
    }
    write_json(arguments.selection, content, origin)


def parser():
    made = command.parser(__doc__, "protocol, layers, top, weights")
    made.add_argument("--adversarial", type=Path, required=True, help="feature paths of adversarial images")
    made.add_argument("--selection", type=Path, required=True, help="the artefact to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
