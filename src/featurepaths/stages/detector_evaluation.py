"""Detector evaluation: calibrated detectors and features of test images -> metrics by attack and calibration.

The attacks here know the network and no detector (oblivious).
"""

import numpy as np

from featurepaths.detectors.thresholds import calibrate, thresholds_in
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.stages.feature_sources import is_dump, open_feature_source, prepare
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.metrics import measure
from featurepaths.store.hdf5 import create_hdf5, open_hdf5
from featurepaths.store.jsonfile import write_json


def main(arguments):
    from featurepaths.detectors.registry import read_detector
    from featurepaths.paths.outputs import read_centroids

    settings = arguments.settings
    output = cli.output_of(arguments)
    origin = cli.origin_of(arguments, output)
    device, network = prepare(arguments, arguments.test, output.names["pooling"])
    centroids = read_centroids(arguments.centroids, device)
    with open_hdf5(arguments.detectors) as calibrated:
        detectors = {name: read_detector(group).to(device) for name, group in calibrated.items()}
        clean = {name: group["calibration_score"][:] for name, group in calibrated.items()}
        thresholds = {name: thresholds_in(group) for name, group in calibrated.items()}

    def scored(path, part):
        with open_feature_source(path, part, centroids, network) as source:
            return source.scored_by(detectors)

    test = scored(arguments.test, "test")
    calibration, attacked = (
        {attack: scored(path, attack.split(".")[1]) for attack, path in by_attack(paths, names).items()}
        for paths, names in (
            (arguments.calibration, settings.calibrated),
            (arguments.adversarial, settings.attacked),
        )
    )
    results = []
    with create_hdf5(arguments.records, origin) as file:
        for name, detector in detectors.items():
            for attack, of_attack in attacked.items():
                file[f"{name}/{attack}/clean_score"] = clean_scores_of(name, test, of_attack)
                file[f"{name}/{attack}/adversarial_score"] = of_attack.scores[name]
            otsus = {
                attack: calibrate(clean[name], of_attack.scores[name])["otsu"]
                for attack, of_attack in calibration.items()
            }
            evaluations = [
                evaluate(name, attack, thresholds[name], test, of_attack) for attack, of_attack in attacked.items()
            ]
            matrix = [
                transfer(name, calibrated_on, threshold, attack, test, of_attack)
                for calibrated_on, threshold in otsus.items()
                for attack, of_attack in attacked.items()
            ]
            results.append({"detector": name, "layers": detector.layers, "evaluations": evaluations, "matrix": matrix})
            print(f"{name}: tested", flush=True)
    write_json(arguments.metrics, {"n": len(test.labels), "detectors": results}, origin)


def by_attack(paths, names):
    """Return files by ``<attack>.<stopping_rule>``, which is in the name of a dump, but not in that of an attack."""
    if all(map(is_dump, paths)):
        return {path.stem.partition(".")[2]: path for path in paths}
    if len(names or []) != len(paths):
        raise FeaturePathsError(f"--settings: calibrated and attacked need one name for each of {len(paths)} attacks.")
    return dict(zip(names, paths, strict=True))


def clean_scores_of(name, test, attacked):
    """Return a detector's scores of the clean images that adversarial examples were made from."""
    return test.scores[name][np.searchsorted(test.index, attacked.index)]


def evaluate(name, attack, thresholds, test, attacked):
    """Return a detector's metrics on one attack."""
    attack, stopping_rule = attack.split(".")
    right = test.network_predictions[np.searchsorted(test.index, attacked.index)] == attacked.labels
    groups = groups_of(right, attacked.network_predictions == attacked.labels)
    measured = measure(clean_scores_of(name, test, attacked), attacked.scores[name], groups, thresholds)
    return {"attack": attack, "stopping_rule": stopping_rule, "n": len(attacked.labels), **groups.counts, **measured}


def transfer(name, calibrated_on, threshold, attack, test, attacked):
    """Return a detector's counts on one attack at Otsu's threshold for another."""
    return {
        "calibrated_on": calibrated_on,
        "tested_on": attack,
        "threshold": threshold,
        "n": len(attacked.labels),
        "flagged_clean": int((clean_scores_of(name, test, attacked) < threshold).sum()),
        "flagged_adversarial": int((attacked.scores[name] < threshold).sum()),
    }


if __name__ == "__main__":
    cli.run("detector_evaluation", main)
