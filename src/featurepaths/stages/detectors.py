"""Detectors: features of training and calibration images -> the paper's detector and its rivals, calibrated.

All see the same features: of dumps, or of the network running again. Nothing but Otsu's threshold ever sees an
adversarial example, and that of calibration images; nothing sees a test image.
"""

from contextlib import ExitStack

from featurepaths.detectors.thresholds import calibrate
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.stages.feature_sources import open_feature_source, prepare
from featurepaths.store.hdf5 import create_hdf5
from featurepaths.store.jsonfile import read_description, read_json


def main(arguments):
    import torch

    from featurepaths.detectors.base import fit_detectors
    from featurepaths.detectors.registry import cross_fitted_scores, save
    from featurepaths.paths.outputs import read_centroids

    settings, output = arguments.settings, cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    channels = [layer["shape"][0] for layer in read_description(arguments.checkpoint)["layers"]]
    device, network = prepare(arguments, arguments.train, output.names["pooling"])
    centroids = read_centroids(arguments.centroids, device)
    detectors = dict(build_detectors(settings.detectors, read_json(arguments.threshold), len(channels)))
    with ExitStack() as stack, create_hdf5(arguments.detectors, origin) as file:
        train, calibration, adversarial = (
            stack.enter_context(open_feature_source(path, part, centroids, network))
            for path, part in (
                (arguments.train, "train"),
                (arguments.calibration, "calibration"),
                (arguments.adversarial, settings.stopping_rule),
            )
        )
        fit_detectors(list(detectors.values()), train, channels)
        inputs, labels = calibration.inputs(detectors), torch.from_numpy(calibration.labels).to(device)
        clean_scores = {}
        for name, detector in detectors.items():
            detector.to(device)
            clean_scores[name] = cross_fitted_scores(detector, inputs[name], labels).cpu().numpy()
            detector.calibrate(inputs[name])
        adversarial_scores = adversarial.scored_by(detectors).scores
        for name, detector in detectors.items():
            clean = clean_scores[name]
            try:
                thresholds = calibrate(clean, adversarial_scores[name], settings.false_positive_rates)
            except FeaturePathsError as error:
                raise FeaturePathsError(f"Detector {name}: {error}") from error
            group = file.create_group(name)
            learned = group.create_group("learned")
            for key, values in save(detector).items():
                learned[key] = values
            group["calibration_score"] = clean
            group.attrs["kind"] = detector.name
            group.attrs["scale"] = float(clean.std()) or 1.0
            group.attrs["thresholds"] = list(thresholds.values())
            group.attrs["threshold_methods"] = list(thresholds)
            print(f"{name}: calibrated", flush=True)


def build_detectors(rivals, calibrated, layers):
    """Yield the paper's detector and its rivals by name; those that read layers once more for those before collapse."""
    from featurepaths.detectors.base import LayerDetector
    from featurepaths.detectors.feature_paths import SMax
    from featurepaths.detectors.registry import DETECTORS

    yield "feature-paths", SMax(calibrated["layers"], calibrated["weights"])
    for name in rivals:
        yield name, DETECTORS[name]()
        if issubclass(DETECTORS[name], LayerDetector) and len(calibrated["layers"]) < layers:
            yield f"{name}-before-collapse", DETECTORS[name](calibrated["layers"])


if __name__ == "__main__":
    cli.run("detectors", main)
