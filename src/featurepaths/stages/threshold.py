"""Threshold: feature paths of clean and adversarial images -> the layers, weights and thresholds of the detector.

Under the `paper` protocol the images are the test images themselves; under `held-out` they are the calibration images.
"""

from featurepaths.detectors.thresholds import calibrate
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.collapse import layers_before_collapse
from featurepaths.paths.equations import s_max, weights_of
from featurepaths.paths.records import open_pair
from featurepaths.stages import cli
from featurepaths.store.jsonfile import read_json, write_json
from featurepaths.store.provenance import read_origin


def main(arguments):
    settings = arguments.settings
    layers = settings.layers
    if layers == "auto":
        if arguments.collapse is None:
            raise FeaturePathsError("layers: auto needs --collapse.")
        pfc3 = [layer["pfc3"] for layer in read_json(arguments.collapse)["layers"]]
        layers = layers_before_collapse(pfc3, float(settings.pfc3_threshold))
    origin = cli.origin_of(arguments, cli.output_of(arguments))
    weights = weights_of(cli.as_floats(settings.weights), len(layers))
    with open_pair(arguments.clean, arguments.adversarial) as pair:
        clean, adversarial = (paths.map_rows(lambda similarity: s_max(similarity, layers, weights)) for paths in pair)
    thresholds = calibrate(clean, adversarial, settings.false_positive_rates)
    content = {
        "detector": "feature-paths",
        "protocol": settings.protocol,
        "thresholds": thresholds,
        "layers": layers,
        "weights": weights.tolist(),
        "calibrated_on": [read_origin(path).name for path in (arguments.clean, arguments.adversarial)],
        "images": len(clean),
    }
    write_json(arguments.threshold, content, origin)


if __name__ == "__main__":
    cli.run("threshold", main)
