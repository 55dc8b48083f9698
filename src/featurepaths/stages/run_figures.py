"""Figures of one run and pooling: mean paths, score histograms, accuracy by layer, ROC curves."""

from pathlib import Path

import numpy as np

from featurepaths.detection.metrics import roc_curve
from featurepaths.paths.records import read_paths
from featurepaths.stages import command
from featurepaths.storage import open_hdf5, read_json


def main(arguments):
    from featurepaths.report import figures

    evaluations = [*arguments.detection, *arguments.records, *arguments.recognition]
    inputs = [arguments.data, arguments.clean, *arguments.adversarial, *evaluations]
    command.check_inputs("run_figures", arguments, inputs)
    title = arguments.settings["title"]
    with open_hdf5(arguments.data) as file:
        class_names = [name.decode() for name in file["class_names"][:]]
    clean = read_paths(arguments.clean)
    attacked = {attack_name(path, 1): read_paths(path) for path in arguments.adversarial}
    detection = {(path.stem.split(".")[1], attack_name(path, 2)): read_json(path) for path in arguments.detection}
    scores = {attack_name(path, 2): read_scores(path) for path in arguments.records}
    recognition = {(path.stem.split(".")[1], attack_name(path, 2)): read_json(path) for path in arguments.recognition}
    base = f"{arguments.run}.{arguments.pooling}"

    with figures.style():
        figures.save(
            figures.mean_paths(
                own_similarity(clean),
                {name: own_similarity(paths) for name, paths in attacked.items()},
                clean.labels,
                class_names,
                f"Mean feature paths: {title}",
            ),
            arguments.figures / f"paths.{base}",
        )
        figures.save(
            figures.score_histograms(
                next(iter(scores.values()))[0],
                {name: pair[1] for name, pair in scores.items()},
                {name: named_thresholds(detection, name) for name in scores},
                f"Detection scores: {title}",
            ),
            arguments.figures / f"histogram.{base}",
        )
        one = {attack: content for (_, attack), content in recognition.items()}
        network = {attack: content["network"]["adversarial_correct"] / content["n"] for attack, content in one.items()}
        first = next(iter(one.values()))
        figures.save(
            figures.layer_accuracies(
                first["layer_accuracy"]["clean"],
                {attack: content["layer_accuracy"]["adversarial"] for attack, content in one.items()},
                {"clean": first["network"]["clean_correct"] / first["n"], **network},
                selected_layers(recognition),
                f"Accuracy by layer: {title}",
            ),
            arguments.figures / f"layers.{base}",
        )
        figures.save(
            figures.roc_curves(
                {
                    name: (*roc_curve(*pair), detection_of(detection, name)["ranking"]["auroc"])
                    for name, pair in scores.items()
                },
                f"ROC: {title}",
            ),
            arguments.figures / f"roc.{base}",
        )


def attack_name(path, start):
    """Return `<attack>, <keep>` from a file name whose dotted parts begin with `start` others."""
    return ", ".join(path.stem.split(".")[start:])


def own_similarity(paths):
    """Return the similarity of each image to its true class in every layer, [N, L]."""
    return np.take_along_axis(paths.similarity, paths.labels[:, None, None], axis=2)[:, :, 0]


def read_scores(path):
    """Return the clean and the adversarial detection scores, [N] each."""
    with open_hdf5(path) as file:
        return file["clean_score"][:], file["adversarial_score"][:]


def named_thresholds(detection, attack):
    """Return every threshold that applies to an attack, by protocol and method."""
    return {
        f"{protocol}, {method}": at["threshold"]
        for (protocol, name), content in detection.items()
        if name == attack
        for method, at in content["at_threshold"].items()
    }


def detection_of(detection, attack):
    """Return the metrics of one attack: under both protocols the scores are the same."""
    return next(content for (_, name), content in detection.items() if name == attack)


def selected_layers(recognition):
    """Return the voting layers, by the protocol (and, under `paper`, the attack) that selected them."""
    return {
        protocol if protocol == "held-out" else f"{protocol}, {attack}": content["layers"]
        for (protocol, attack), content in recognition.items()
    }


def parser():
    made = command.parser(__doc__, "title, what the figures' titles say of the run and pooling")
    files = {"type": Path, "nargs": "+", "required": True}
    made.add_argument("--data", type=Path, required=True, help="data.h5, for the classes' names")
    made.add_argument("--clean", type=Path, required=True, help="feature paths of the clean test images")
    made.add_argument("--adversarial", **files, help="feature paths of their adversarial examples, by attack")
    made.add_argument("--detection", **files, help="detection metrics, by protocol and attack")
    made.add_argument("--records", **files, help="detection records, by attack")
    made.add_argument("--recognition", **files, help="recognition metrics, by protocol and attack")
    made.add_argument("--run", required=True, help="the run's name, for the files' names")
    made.add_argument("--pooling", required=True, help="the pooling, for the files' names")
    made.add_argument("--figures", type=Path, required=True, help="the folder to write to")
    return made


if __name__ == "__main__":
    command.run(main, parser())
