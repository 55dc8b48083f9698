"""Selection: feature paths of adversarial images -> the layers that vote in recognition, and their weights.

Under the `paper` protocol the images are the test images themselves; under `held-out` they are the calibration images.
"""

from featurepaths.defense.recognition import best_layers, layer_accuracy
from featurepaths.paths.equations import weights_of
from featurepaths.paths.records import open_paths
from featurepaths.stages import cli
from featurepaths.store.jsonfile import write_json
from featurepaths.store.provenance import read_origin


def main(arguments):
    settings, output = arguments.settings, cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    with open_paths(arguments.adversarial) as paths:
        accuracy = layer_accuracy(paths)
        count = len(paths.labels)
    layers = best_layers(accuracy, settings.top) if settings.layers == "auto" else settings.layers
    content = {
        "protocol": settings.protocol,
        "layers": layers,
        "weights": weights_of(cli.as_floats(settings.weights), len(layers)).tolist(),
        "selected_on": read_origin(arguments.adversarial).name,
        "images": count,
        "layer_accuracy": accuracy.tolist(),
    }
    write_json(output.path, content, origin)


if __name__ == "__main__":
    cli.run("selection", main)
