"""Detection: a threshold and feature paths of test images -> scores, flags, counts and ranking metrics."""

from pathlib import Path

from featurepaths.detection.detector import read_detector
from featurepaths.detection.metrics import bootstrap_intervals, ranking_metrics
from featurepaths.paths.records import read_pair
from featurepaths.stages import command
from featurepaths.storage import create_hdf5, read_origin, write_json


def main(arguments):
    pooling = read_origin(arguments.clean).name.split("/")[1]
    name = f"detection/{pooling}/{arguments.metrics.stem}"
    inputs = [arguments.threshold, arguments.clean, arguments.adversarial]
    origin = command.origin_of("detection", arguments, name, inputs)
    detector = read_detector(arguments.threshold)
    clean_paths, adversarial_paths = read_pair(arguments.clean, arguments.adversarial)
    clean, adversarial = detector.score(clean_paths), detector.score(adversarial_paths)
    successful = clean_paths.network_correct & ~adversarial_paths.network_correct
    content = {
        "detector": detector.name,
        "protocol": detector.protocol,
        "layers": detector.layers,
        "n_clean": len(clean),
        "n_adversarial": len(adversarial),
        "n_successful": int(successful.sum()),
        "ranking": ranking_metrics(clean, adversarial),
        "intervals": bootstrap_intervals(clean, adversarial, detector.thresholds),
        "at_threshold": {
            method: {
                "threshold": threshold,
                "flagged_clean": int((clean < threshold).sum()),
                "flagged_adversarial": int((adversarial < threshold).sum()),
            }
            for method, threshold in detector.thresholds.items()
        },
    }
    with create_hdf5(arguments.records, origin) as file:
        file["clean_score"] = clean
        file["adversarial_score"] = adversarial
        file["successful"] = successful
    write_json(arguments.metrics, content, origin)


def parser():
    made = command.parser(__doc__)
    made.add_argument("--threshold", type=Path, required=True, help="the detector's layers, weights and thresholds")
    made.add_argument("--clean", type=Path, required=True, help="feature paths of the clean test images")
    made.add_argument("--adversarial", type=Path, required=True, help="feature paths of adversarial examples of them")
    made.add_argument("--metrics", type=Path, required=True, help="the JSON artefact to write")
    made.add_argument("--records", type=Path, required=True, help="the HDF5 artefact to write: scores of each image")
    return made


if __name__ == "__main__":
    command.run(main, parser())
