"""Detection: calibrated detectors and feature paths of test images -> scores, flags, counts and ranking metrics."""

from featurepaths.detectors.thresholds import read_feature_path_detector
from featurepaths.paths.records import open_pair
from featurepaths.stages import cli
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.metrics import measure, roc_curve
from featurepaths.store.hdf5 import create_hdf5
from featurepaths.store.jsonfile import write_json


def main(arguments):
    origin = cli.origin_of(arguments, cli.output_of(arguments))
    protocols = {}
    with open_pair(arguments.clean, arguments.adversarial) as pair, create_hdf5(arguments.records, origin) as file:
        clean, adversarial = pair
        groups = groups_of(clean.network_correct, adversarial.network_correct)
        file["index"] = clean.index
        file["successful"], file["unsuccessful"] = groups.successful, groups.unsuccessful
        for detector in map(read_feature_path_detector, arguments.thresholds):
            scores = detector.score(clean), detector.score(adversarial)
            measured = measure(*scores, groups, detector.thresholds)
            protocols[detector.protocol] = {"layers": detector.layers, **measured}
            group = file.create_group(detector.protocol)
            group["clean_score"], group["adversarial_score"] = scores
            group["false_positive_rate"], group["true_positive_rate"] = roc_curve(*scores)
    content = {
        "n_clean": len(clean.labels),
        "n_adversarial": len(adversarial.labels),
        **groups.counts,
        "protocols": protocols,
    }
    write_json(arguments.metrics, content, origin)


if __name__ == "__main__":
    cli.run("detection", main)
