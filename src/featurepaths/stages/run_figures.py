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
    suffix, title = arguments.record.stem, arguments.settings.title
    figures = ((f"{name}.{suffix}", f"{kind}: {title}", figure) for name, kind, figure in figures_of(arguments))
    cli.write_record(arguments.record, origin, save(figures, arguments.record.parent))


def figures_of(arguments):
    """Yield the name, the kind and the figure of each figure."""
    with open_hdf5(arguments.data) as file:
        class_names = class_names_in(file)
    similarity = {}
    for path in arguments.adversarial:
        with open_pair(arguments.clean, path) as (clean, adversarial):  # the clean images are the same each time
            similarity |= {"clean": own_similarity(clean), rule_of(path): own_similarity(adversarial)}
    yield "paths", "Mean feature paths", plots.mean_paths(similarity, class_names)
    protocols = {result.stopping_rule: result.content["protocols"] for result in read_results(arguments.detection)}
    thresholds = {
        rule: {
            f"{protocol}, {method}": at["threshold"]
            for protocol, metrics in by_protocol.items()
            for method, at in metrics["at_threshold"].items()
        }
        for rule, by_protocol in protocols.items()
    }
    scores, curves = {}, {}
    for path in arguments.records:
        rule = rule_of(path)
        with open_hdf5(path) as file:
            paper = {name: values[:] for name, values in file["paper"].items()}
        scores[rule] = paper["clean_score"], paper["adversarial_score"]
        area = protocols[rule]["paper"]["ranking"]["auroc"]
        curves[rule] = paper["false_positive_rate"], paper["true_positive_rate"], area
    yield "histogram", "Detection scores", plots.score_histograms(scores, thresholds)
    yield "roc", "ROC", plots.roc_curves(curves)
    accuracy, voting = {}, {}
    for result in read_results(arguments.recognition):
        content, rule = result.content, result.stopping_rule
        for name, images in (("clean", "clean"), (rule, "adversarial")):  # the clean images are the same for all rules
            network = content["network"][f"{images}_correct"] / content["n"]
            accuracy[name] = content["layer_accuracy"][images], network
        for protocol, defended in content["protocols"].items():  # held-out layers are the same for all rules
            voting["held-out" if protocol == "held-out" else f"{protocol}, {rule}"] = defended["layers"]
    yield "layers", "Accuracy by layer", plots.layer_accuracies(accuracy, voting)


def rule_of(path):
    """Return the stopping rule that a file's name ends with."""
    return path.stem.rpartition(".")[2]


def own_similarity(paths):
    """Return the similarity of each image to its true class in every layer, [N, L], and the images' classes [N]."""
    own = paths.map_rows(lambda all_classes, labels: all_classes[np.arange(len(labels)), :, labels], paths.labels)
    return own, paths.labels


if __name__ == "__main__":
    cli.run("run_figures", main)
