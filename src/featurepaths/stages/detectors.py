"""Detectors: feature dumps -> rival detectors, calibrated on held-out images, and how they fare beside feature paths.

All see the same cached features of the same images. What a detector learns of clean images, and its thresholds, come
from training and calibration images. The attacks here know the network and no detector (oblivious).
"""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np

from featurepaths.detection.metrics import measure
from featurepaths.detection.thresholds import at_false_positive_rate, otsu, rate_name
from featurepaths.paths.groups import groups_of
from featurepaths.stages import command
from featurepaths.storage import (
    create_hdf5,
    layers_in,
    open_hdf5,
    read_checkpoint_metadata,
    read_json,
    read_origin,
    write_json,
)

CHUNK = 512
"""Images whose features are in memory at a time, but for the clean calibration images: they are there together."""
CLEAN = "clean"


class Dump:
    """Features of some images, as detectors see them."""

    def __init__(self, file, centroids):
        self.file, self.centroids = file, centroids
        self.labels, self.index = file["labels"][:], file["index"][:]
        self.network_labels = np.concatenate([part.argmax(axis=1) for part in self._pieces("logits")])

    def __iter__(self):
        """Yield what the network shows of some images, and their labels."""
        import torch

        for start in range(0, len(self.labels), CHUNK):
            yield self.observed(slice(start, start + CHUNK)), torch.from_numpy(self.labels[start : start + CHUNK])

    def observed(self, rows):
        """Return what the network shows of a slice of the images."""
        import torch

        from featurepaths.paths.observed import observe

        features = [torch.from_numpy(self.file[name][rows]).float() for name in layers_in(self.file)]
        return observe(torch.from_numpy(self.file["logits"][rows]), features, self.centroids)

    def scores(self, detector):
        """Return a detector's score of every image, float64 [N]."""
        import torch

        with torch.no_grad():
            return np.concatenate([detector.score(seen).double().numpy() for seen, _ in self])

    def _pieces(self, name):
        for start in range(0, len(self.labels), CHUNK):
            yield self.file[name][start : start + CHUNK]


def main(arguments):
    import torch

    from featurepaths.detection.rivals import cross_fitted_scores, save

    settings = arguments.settings
    torch.set_num_threads(settings["torch_threads"])
    pooling = read_origin(arguments.test).pooling
    inputs = [arguments.checkpoint, arguments.centroids, arguments.threshold, arguments.train]
    inputs += [arguments.calibration, *arguments.calibration_attacked, arguments.test, *arguments.attacked]
    origin = command.origin_of("detectors", arguments, f"detectors/{pooling}", inputs)
    channels = [layer["shape"][0] for layer in read_checkpoint_metadata(arguments.checkpoint)["layers"]]
    with open_hdf5(arguments.centroids) as file:
        centroids = [torch.from_numpy(file[name][:]) for name in layers_in(file)]
    with ExitStack() as stack, create_hdf5(arguments.detectors, origin) as file:
        train, calibration, test = (
            Dump(stack.enter_context(open_hdf5(path)), centroids)
            for path in (arguments.train, arguments.calibration, arguments.test)
        )
        calibration_attacked, attacked = (
            {attack_of(path): Dump(stack.enter_context(open_hdf5(path)), centroids) for path in paths}
            for paths in (arguments.calibration_attacked, arguments.attacked)
        )
        seen, labels = calibration.observed(slice(None)), torch.from_numpy(calibration.labels)
        found = []
        for name, detector in made(settings["detectors"], read_json(arguments.threshold), len(channels)):
            detector.learn(train, channels)
            clean = cross_fitted_scores(detector, seen, labels).numpy()
            detector.calibrate(seen)
            by_attack = {
                attack: otsu(np.concatenate([clean, dump.scores(detector)]))
                for attack, dump in calibration_attacked.items()
            }
            rates = [Fraction(rate) for rate in settings["false_positive_rates"]]
            thresholds = {"otsu": by_attack[settings["calibrated_on"]]}
            thresholds |= {rate_name(rate): at_false_positive_rate(clean, rate) for rate in rates}
            group = file.create_group(name)
            learned = group.create_group("learned")
            for key, values in save(detector).items():
                learned[key] = values
            group.attrs["kind"] = detector.name
            group.attrs["scale"] = float(clean.std()) or 1.0
            group.attrs["thresholds"] = list(thresholds.values())
            group.attrs["threshold_methods"] = list(thresholds)
            scores = {CLEAN: test.scores(detector)}
            scores |= {attack: dump.scores(detector) for attack, dump in attacked.items()}
            for images, values in scores.items():
                group[f"scores/{images}"] = values
            found.append(
                {
                    "detector": name,
                    "layers": detector.layers,
                    "evaluations": [
                        evaluate(attack, scores, thresholds, test, dump) for attack, dump in attacked.items()
                    ],
                    "matrix": [
                        transfer(calibrated_on, threshold, attack, scores, test, dump)
                        for calibrated_on, threshold in by_attack.items()
                        for attack, dump in attacked.items()
                    ],
                }
            )
            print(f"{name}: calibrated and tested", flush=True)
    write_json(arguments.metrics, {"n": len(test.labels), "detectors": found}, origin)


def made(rivals, calibrated, layers):
    """Yield the paper's detector and its rivals by name; those that read layers once more for those before collapse."""
    from featurepaths.detection.rivals import RIVALS, LayerRival, SMax

    yield "feature-paths", SMax(calibrated["layers"], calibrated["weights"])
    for name in rivals:
        yield name, RIVALS[name]()
        if issubclass(RIVALS[name], LayerRival) and len(calibrated["layers"]) < layers:
            yield f"{name}-before-collapse", RIVALS[name](calibrated["layers"])


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
    made = command.parser(__doc__, "detectors, calibrated_on, false_positive_rates, torch_threads")
    one, several = {"type": Path, "required": True}, {"type": Path, "nargs": "+", "required": True}
    made.add_argument("--checkpoint", **one, help="the network's checkpoint, for its layers' channels")
    made.add_argument("--centroids", **one, help="centroids of the same network and pooling")
    made.add_argument("--threshold", **one, help="the paper's detector by the held-out protocol")
    made.add_argument("--train", **one, help="features of the training images")
    made.add_argument("--calibration", **one, help="features of the clean calibration images")
    made.add_argument("--calibration-attacked", **several, help="features of adversarial examples of them")
    made.add_argument("--test", **one, help="features of the clean test images")
    made.add_argument("--attacked", **several, help="features of adversarial examples of them")
    made.add_argument("--metrics", **one, help="the JSON artefact to write")
    made.add_argument("--detectors", **one, help="the HDF5 artefact to write: the detectors, and their scores")
    return made


if __name__ == "__main__":
    command.run(main, parser())
