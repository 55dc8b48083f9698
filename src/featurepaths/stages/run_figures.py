"""Figures of one run, pooling and attack: examples, confusion, mean paths, scores, accuracy by layer, ROC curves."""

import numpy as np

from featurepaths.data.splits import class_names_in
from featurepaths.paths.records import open_pair
from featurepaths.report.figures import run as plots
from featurepaths.report.figures.confusion import confusion_figure
from featurepaths.report.figures.examples import examples_figure
from featurepaths.report.figures.style import save
from featurepaths.report.results import read_results
from featurepaths.stages import attacked_images, cli
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
    detection, recognition = (
        {result.stopping_rule: result.content for result in read_results(paths)}
        for paths in (arguments.detection, arguments.recognition)
    )
    shown_rule = attacked_images.strongest(list(detection))
    defense = attacked_images.defense_of(detection[shown_rule], recognition[shown_rule])
    similarity, attacked = {}, []
    for path, scores, answers in zip(arguments.adversarial, arguments.records, arguments.answers, strict=True):
        rule = rule_of(path)
        with open_pair(arguments.clean, path) as (clean, adversarial):  # the clean images are the same each time
            similarity |= {"clean": similarities(clean), rule: similarities(adversarial)}
            if rule == shown_rule:
                title = f"Oblivious attack {arguments.record.stem.rpartition('.')[2]}, {rule}"
                images = attacked_images.oblivious(title, *defense, scores, answers)
                examples = attacked_images.oblivious_examples(
                    images, arguments.data, arguments.attack, rule, adversarial
                )
                attacked.append((images, examples))
    if arguments.adaptive:
        attacked.append(
            attacked_images.adaptive(*defense[1:], arguments.data, arguments.adaptive, len(similarity["clean"].labels))
        )
    yield "examples", "Attacked test images", examples_figure(attacked, similarity["clean"], class_names)
    yield "confusion", "Confusion under attack", confusion_figure([images for images, _ in attacked], class_names)
    yield "paths", "Mean feature paths", plots.mean_paths(similarity, class_names)
    protocols = {rule: content["protocols"] for rule, content in detection.items()}
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
    for rule, content in recognition.items():
        for name, images in (("clean", "clean"), (rule, "adversarial")):  # the clean images are the same for all rules
            network = content["network"][f"{images}_correct"] / content["n"]
            accuracy[name] = content["layer_accuracy"][images], network
        for protocol, defended in content["protocols"].items():  # held-out layers are the same for all rules
            voting["held-out" if protocol == "held-out" else f"{protocol}, {rule}"] = defended["layers"]
    yield "layers", "Accuracy by layer", plots.layer_accuracies(accuracy, voting)


def rule_of(path):
    """Return the stopping rule that a file's name ends with."""
    return path.stem.rpartition(".")[2]


def similarities(paths):
    """Return the similarity of each image to its true class and to the predicted one, in every layer."""

    def to(labels):
        return paths.map_rows(lambda all_classes, labels: all_classes[np.arange(len(labels)), :, labels], labels)

    predictions = paths.network_predictions
    return plots.Similarities(to(paths.labels), paths.labels, to(predictions), predictions)


if __name__ == "__main__":
    cli.run("run_figures", main)
