"""Figures of one run, pooling and attack: mean paths, score histograms, accuracy by layer, ROC curves."""

import numpy as np

from featurepaths.data.splits import class_names_in
from featurepaths.paths.records import open_pair
from featurepaths.report.figures import run as plots
from featurepaths.report.figures.style import save
from featurepaths.report.results import read_results
from featurepaths.stages import cli
from featurepaths.store.hdf5 import open_hdf5


def main(arguments):
    origin = cli.origin_of_record(arguments)
    of, title = arguments.record.stem, arguments.settings["title"]
    figures = ((f"{name}.{of}", f"{kind}: {title}", figure) for name, kind, figure in figures_of(arguments))
    cli.write_record(arguments.record, origin, save(figures, arguments.record.parent))


def figures_of(arguments):
    """Yield the name, the kind and the figure of each figure."""
    with open_hdf5(arguments.data) as file:
        class_names = class_names_in(file)
    similarity = {}
    detection, recognition = (
        {result.stopping_rule: result.content for result in read_results(paths)}
        for paths in (arguments.detection, arguments.recognition)
    )
    for path in arguments.adversarial:
        with open_pair(arguments.clean, path) as (clean, adversarial):  # the clean images are the same each time
            similarity |= {"clean": own_similarity(clean), rule_of(path): own_similarity(adversarial)}
    yield "paths", "Mean feature paths", plots.mean_paths(similarity, class_names)
    records = {rule_of(path): read_records(path) for path in arguments.records}
    thresholds = {rule: thresholds_of(content["protocols"]) for rule, content in detection.items()}
    scores = {rule: (record["clean_score"], record["adversarial_score"]) for rule, record in records.items()}
    yield "histogram", "Detection scores", plots.score_histograms(scores, thresholds)
    accuracy = {}
    for rule, content in recognition.items():
        for name, images in (("clean", "clean"), (rule, "adversarial")):  # the clean images are the same for all rules
            network = content["network"][f"{images}_correct"] / content["n"]
            accuracy[name] = content["layer_accuracy"][images], network
    yield "layers", "Accuracy by layer", plots.layer_accuracies(accuracy, voting_layers(recognition))
    curves = {
        rule: (
            record["false_positive_rate"],
            record["true_positive_rate"],
            detection[rule]["protocols"]["paper"]["ranking"]["auroc"],
        )
        for rule, record in records.items()
    }
    yield "roc", "ROC", plots.roc_curves(curves)


def rule_of(path):
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
        for protocol, metrics in protocols.items()
        for method, at in metrics["at_threshold"].items()
    }


def voting_layers(recognition):
    """Return the voting layers by what selected them: the calibration images once, the test images for each attack."""
    return {
        protocol if protocol == "held-out" else f"{protocol}, {rule}": defended["layers"]
        for rule, content in recognition.items()
        for protocol, defended in content["protocols"].items()
    }


if __name__ == "__main__":
    cli.run("run_figures", main)
