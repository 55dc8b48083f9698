"""Rivals: calibrated detectors and features of test images -> how they fare side by side, by attack and calibration.

The attacks here know the network and no detector (oblivious).
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from featurepaths.detection.metrics import measure
from featurepaths.detection.thresholds import otsu, thresholds_in
from featurepaths.paths.groups import groups_of
from featurepaths.stages import command
from featurepaths.stages.dumps import Dump, read_centroids
from featurepaths.storage import create_hdf5, open_hdf5, read_origin, write_json

CLEAN = "clean"


def main(arguments):
    import torch

    from featurepaths.detection.rivals import read_rival

    torch.set_num_threads(arguments.settings["torch_threads"])
    pooling = read_origin(arguments.test).pooling
    inputs = [arguments.detectors, arguments.centroids, *arguments.calibration, arguments.test, *arguments.adversarial]
    origin = command.origin_of("rivals", arguments, f"detection/{pooling}/rivals", inputs)
    centroids = read_centroids(arguments.centroids)
    with ExitStack() as stack, create_hdf5(arguments.records, origin) as file:
        calibrated = stack.enter_context(open_hdf5(arguments.detectors))
        test = Dump(stack.enter_context(open_hdf5(arguments.test)), centroids)
        calibration, attacked = (
            {attack_of(path): Dump(stack.enter_context(open_hdf5(path)), centroids) for path in paths}
            for paths in (arguments.calibration, arguments.adversarial)
        )
        found = []
        for name, group in calibrated.items():
            detector = read_rival(group)
            scores = {CLEAN: test.scores(detector)}
            scores |= {attack: dump.scores(detector) for attack, dump in attacked.items()}
            for attack, dump in attacked.items():
                file[f"{name}/{attack}/clean_score"] = clean_scores_of(scores, test, dump)
                file[f"{name}/{attack}/adversarial_score"] = scores[attack]
            clean = group["calibration_score"][:]
            thresholds = thresholds_in(group)
            by_attack = {of: otsu(np.concatenate([clean, dump.scores(detector)])) for of, dump in calibration.items()}
            evaluations = [evaluate(attack, scores, thresholds, test, dump) for attack, dump in attacked.items()]
            matrix = [
                transfer(of, threshold, attack, scores, test, dump)
                for of, threshold in by_attack.items()
                for attack, dump in attacked.items()
            ]
            found.append({"detector": name, "layers": detector.layers, "evaluations": evaluations, "matrix": matrix})
            print(f"{name}: tested", flush=True)
    write_json(arguments.metrics, {"n": len(test.labels), "detectors": found}, origin)


def attack_of(dump):
    """Return ``<attack>.<keep>`` of a dump's name, ``<split>.<attack>.<keep>.h5``."""
    return dump.stem.partition(".")[2]


def clean_scores_of(scores, test, dump):
    """Return the scores of the clean images that a dump's examples were made from."""
    return scores[CLEAN][np.searchsorted(test.index, dump.index)]


def evaluate(attack, scores, thresholds, test, dump):
    """Return a detector's metrics on one attack."""
    name, keep = attack.split(".")
    right = test.network_labels[np.searchsorted(test.index, dump.index)] == dump.labels
    groups = groups_of(right, dump.network_labels == dump.labels)
    measured = measure(clean_scores_of(scores, test, dump), scores[attack], groups, thresholds)
    return {"attack": name, "keep": keep, "n": len(dump.labels), **groups.counts, **measured}


def transfer(calibrated_on, threshold, attack, scores, test, dump):
    """Return the counts on one attack at Otsu's threshold for another."""
    return {
        "calibrated_on": calibrated_on,
        "tested_on": attack,
        "threshold": threshold,
        "n": len(dump.labels),
        "flagged_clean": int((clean_scores_of(scores, test, dump) < threshold).sum()),
        "flagged_adversarial": int((scores[attack] < threshold).sum()),
    }


def parser():
    made = command.parser(__doc__, "torch_threads")
    one, several = {"type": Path, "required": True}, {"type": Path, "nargs": "+", "required": True}
    made.add_argument("--detectors", **one, help="calibrated detectors")
    made.add_argument("--centroids", **one, help="centroids of the same network and pooling")
    made.add_argument("--calibration", **several, help="features of adversarial examples of calibration images")
    made.add_argument("--test", **one, help="features of the clean test images")
    made.add_argument("--adversarial", **several, help="features of adversarial examples of them")
    made.add_argument("--metrics", **one, help="the JSON artefact to write")
    made.add_argument("--records", **one, help="the HDF5 artefact to write: scores of each image")
    return made


if __name__ == "__main__":
    command.run(main, parser())
