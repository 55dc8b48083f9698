"""Figures of one run, pooling and attack: feature paths, detection scores, accuracy by layer, ROC curves.

Every function takes arrays and returns a matplotlib figure.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt

MOST_PANELS = 20
LEGEND_ENTRY = 3.2
"""The width of the longest entry of the legend of mean paths, in inches."""
BAND = 5, 95
"""The percentiles of clean images between which a band lies."""


class Similarities(NamedTuple):
    """Similarity of N images to their true class, `own`, and to the `predicted` one, in every layer: [N, L].

    `labels` are the true classes [N], `predictions` the network's [N].
    """

    own: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    predictions: np.ndarray


def clean_band(similarities: np.ndarray) -> np.ndarray:
    """Return the 5th and the 95th percentile of the similarity of images to a class in every layer: [2, L]."""
    return np.percentile(similarities, BAND, axis=0)


def mean_paths(images: Mapping[str, Similarities], class_names: Sequence[str]) -> Figure:
    """Figure 1: mean similarity of images to a class by layer, one panel per class, and the band of its clean images.

    Solid lines are the images of the panel's class. Dashed lines are attacked images of other classes that the network
    takes for the panel's class. With more than 20 classes, one panel shows the similarity of all images to their true
    class, and of those that the network misclassifies to the predicted class.

    Parameters
    ----------
    images
        Of ``clean`` images, first, and by attack. Classes may be missing.
    class_names
        The names of all classes [C].
    """
    layers = range(1, images["clean"].own.shape[1] + 1)
    if len(class_names) > MOST_PANELS:
        figure, axes = plt.subplots(figsize=(6, 4), squeeze=False)
        panels, kinds = {None: "all classes"}, ("to the true class", "misclassified, to the predicted class")
    else:
        figure, axes = style.panels(len(class_names), 5, size=(2.1, 1.9), margin=(0.6, 0.7))
        panels, kinds = dict(enumerate(style.class_titles(class_names))), ("of the class", "taken for the class")
    rows, columns = axes.shape
    for number, (axis, (label, title)) in enumerate(zip(axes.flat, panels.items(), strict=False)):
        for similarities, line in style.series(images):
            own, predicted = _of_panel(similarities, label)
            name, line = line["label"], line | {"markersize": 3, "linewidth": 1.2}
            if name == "clean" and len(own):
                band = f"clean, {kinds[0]}: {BAND[0]} to {BAND[1]} %"
                axis.fill_between(layers, *clean_band(own), color=line["color"], alpha=0.2, linewidth=0, label=band)
            axis.plot(layers, _mean(own), **line | {"label": f"{name}, {kinds[0]}"})
            if name != "clean":
                dashed = {"linestyle": "--", "markerfacecolor": "white", "label": f"{name}, {kinds[1]}"}
                axis.plot(layers, _mean(predicted), **line | dashed)
        axis.set(title=title, xticks=style.layer_ticks(len(layers)))
        if number + columns >= len(panels):  # no panel below
            axis.set_xlabel("layer")
            axis.tick_params(labelbottom=True)
    # one row of panels is not high enough for the label in one line
    figure.supylabel(style.SIMILARITY_IN_TWO_LINES if rows == 1 else style.SIMILARITY, fontsize=10)
    legend_columns = max(1, int(figure.get_figwidth() / LEGEND_ENTRY))
    figure.set_figheight(figure.get_figheight() + 0.2 * -(-2 * len(images) // legend_columns))
    style.legend_below(figure, axes[0, 0], legend_columns)
    return figure


def _of_panel(similarities: Similarities, label: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarities [n, L] of the images of a class, and of others that are taken for it; None: any class."""
    wrong = similarities.predictions != similarities.labels
    if label is None:
        return similarities.own, similarities.predicted[wrong]
    misclassified = wrong & (similarities.predictions == label)
    return similarities.own[similarities.labels == label], similarities.predicted[misclassified]


def _mean(similarities: np.ndarray) -> np.ndarray:
    """Return the mean over images [N, L], by layer; NaN without images."""
    return similarities.mean(axis=0, dtype=float) if len(similarities) else np.full(similarities.shape[1], np.nan)


def score_histograms(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]], thresholds: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Figures 2 and 4: histograms of the detection score of clean and adversarial images, with the thresholds.

    Parameters
    ----------
    scores
        By attack, the scores [N] of clean and of adversarial images: one panel per attack.
    thresholds
        By attack, thresholds by label.
    """
    figure, axes = style.panels(len(scores), len(scores), size=(4.6, 4.4), margin=(0.4, 0))
    bins = np.histogram_bin_edges(np.concatenate([part for pair in scores.values() for part in pair]), bins=40)
    colours = cycle(style.ATTACKED)
    for axis, color, (name, (clean, adversarial)) in zip(axes.flat, colours, scores.items(), strict=False):
        axis.hist(clean, bins, color=style.CLEAN, alpha=0.55, label="clean")
        axis.hist(adversarial, bins, color=color, alpha=0.55, label=name)
        for (method, threshold), dashes in zip(thresholds[name].items(), cycle(style.DASHES), strict=False):
            label = f"{method}: τ = {threshold:.4f}"
            axis.axvline(threshold, color="black", linewidth=1.2, linestyle=dashes, label=label)
        axis.set(xlabel=r"detection score $S_{\max}$ (flagged if below τ)", title=name)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)
        axis.grid(axis="x", visible=False)
    axes[0, 0].set_ylabel("images")
    return figure


def layer_accuracies(
    accuracy: Mapping[str, tuple[Sequence[float], float]], voting: Mapping[str, Sequence[int]]
) -> Figure:
    """Figures 3 and 5: accuracy of each layer's nearest centroid, on clean and adversarial images.

    Parameters
    ----------
    accuracy
        On ``clean`` images, first, and by attack: accuracy by layer [L], and that of the undefended network: lines
        without markers, one for equal values; in [0, 1].
    voting
        The voting layers, by what selected them; listed beside the legend.
    """
    layers = range(1, len(accuracy["clean"][0]) + 1)
    figure, axis = plt.subplots(figsize=(6.8, 4.2))
    alone: dict[float, list[dict[str, Any]]] = {}
    for (by_layer, network), line in style.series(accuracy):
        axis.plot(layers, 100 * np.asarray(by_layer), **line)
        alone.setdefault(network, []).append(line)
    for (network, lines), dashes in zip(alone.items(), cycle(style.DASHES[1:]), strict=False):
        label = "network alone, " + " and ".join(line["label"] for line in lines)  # equal ones would hide each other
        color = lines[0]["color"] if len(lines) == 1 else "black"
        axis.axhline(100 * network, color=color, linestyle=dashes, linewidth=1.2, label=label)
    axis.set(xlabel="layer", ylabel="accuracy of the nearest centroid (%)", ylim=(-3, 103))
    axis.set_xticks(style.layer_ticks(len(layers)))
    selections = [f"  {name}: {', '.join(map(str, layers))}" for name, layers in voting.items()]
    text = "\n".join(["voting layers, by protocol", *selections])
    outside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    axis.legend(**outside, title=text, title_fontsize=8, fontsize=8, alignment="left")
    return figure


def roc_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]]) -> Figure:
    """ROC curves of the detector: by attack, the false and true positive rates and the area under the curve."""
    figure, axis = plt.subplots(figsize=(5.2, 5.2))
    for (name, (false_rate, true_rate, area)), color in zip(curves.items(), cycle(style.ATTACKED), strict=False):
        axis.plot(false_rate, true_rate, color=color, label=f"{name}: AUROC {area:.3f}")
    axis.plot([0, 1], [0, 1], **style.CHANCE, label="chance")
    limits = (-0.01, 1.01)
    axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal", xlim=limits, ylim=limits)
    axis.legend(loc="lower right", fontsize=8)
    return figure
