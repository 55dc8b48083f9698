"""Figures of one run, pooling and attack: mean paths, score histograms, accuracy by layer, ROC curves."""

import numpy as np

from featurepaths.data.splits import class_names_in
from featurepaths.paths.records import open_pair
from featurepaths.stages import cli
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json

TITLES = {
    "paths": "Mean feature paths",
    "histogram": "Detection scores",
    "layers": "Accuracy by layer",
    "roc": "ROC",
}


def main(arguments):
    from featurepaths.report.figures import run as plots
    from featurepaths.report.figures.style import KINDS, save

    origin = cli.origin_of_record(arguments)
    with open_hdf5(arguments.data) as file:
        class_names = class_names_in(file)
    similarity = {}
    for path in arguments.adversarial:
        with open_pair(arguments.clean, path) as (clean, adversarial):  # the clean images are the same each time
            similarity |= {"clean": own_similarity(clean), name_of(path): own_similarity(adversarial)}
    detection = {name_of(path): read_json(path)["protocols"] for path in arguments.detection}
    records = {name_of(path): read_records(path) for path in arguments.records}
    recognition = {name_of(path): read_json(path) for path in arguments.recognition}
    any_attack = next(iter(recognition.values()))  # the clean images are the same for all attacks
    accuracy = {"clean": any_attack["layer_accuracy"]["clean"]}
    network = {"clean": any_attack["network"]["clean_correct"] / any_attack["n"]}
    for name, content in recognition.items():
        accuracy[name] = content["layer_accuracy"]["adversarial"]
        network[name] = content["network"]["adversarial_correct"] / content["n"]
    scores = {name: (record["clean_score"], record["adversarial_score"]) for name, record in records.items()}
    thresholds = {name: thresholds_of(protocols) for name, protocols in detection.items()}
    curves = {
        name: (
            record["false_positive_rate"],
            record["true_positive_rate"],
            detection[name]["paper"]["ranking"]["auroc"],
        )
        for name, record in records.items()
    }
    figures = {
        "paths": plots.mean_paths(similarity, class_names),
        "histogram": plots.score_histograms(scores, thresholds),
        "layers": plots.layer_accuracies(accuracy, network, voting_layers(recognition)),
        "roc": plots.roc_curves(curves),
    }
    for name, figure in figures.items():
        title = f"{TITLES[name]}: {arguments.settings.title}"
        save(figure, title, arguments.record.with_name(f"{name}.{arguments.record.stem}"))
    files = (f"{name}.{arguments.record.stem}.{kind}" for name in figures for kind in KINDS)
    cli.write_record(arguments.record, origin, files)


def name_of(path):
    """Return the stopping rule that a file's name ends with."""
    return path.stem.rpartition(".")[2]


def own_similarity(paths):
    """Return the similarity of each image to its true class in every layer, [N, L], and the images' classes [N]."""
    own = paths.map_rows(lambda all_classes, labels: all_classes[np.arange(len(labels)), :, labels], paths.labels)
    return own, paths.labels


def read_records(path):
    """Return the scores and the ROC curve under the paper's protocol."""
    with open_hdf5(path) as file:
        return {name: values[:] for name, values in file["paper"].items()}


def thresholds_of(protocols):
    """Return every threshold by protocol and method."""
    return {
        f"{protocol}, {method}": at["threshold"]
        for protocol, measured in protocols.items()
        for method, at in measured["at_threshold"].items()
    }


def voting_layers(recognition):
    """Return the voting layers by what selected them: the calibration images once, the test images for each attack."""
    return {
        protocol if protocol == "held-out" else f"{protocol}, {name}": defended["layers"]
        for name, found in recognition.items()
        for protocol, defended in found["protocols"].items()
    }


if __name__ == "__main__":
    cli.run("run_figures", main)
