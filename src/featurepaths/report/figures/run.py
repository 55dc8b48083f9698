"""Figures of one run, pooling and attack: feature paths, detection scores, accuracy by layer, ROC curves.

Every function takes arrays and returns a matplotlib figure.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt

MOST_PANELS = 20


def mean_paths(similarity: Mapping[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]) -> Figure:
    """Figure 1: mean similarity of images to their true class, by layer, one panel per class.

    With more than 20 classes, one panel shows the mean over all images and the quartiles over classes.

    Parameters
    ----------
    similarity
        Of ``clean`` images, first, and by attack: similarity to the true class in every layer [N, L], and the images'
        classes [N]. Classes may be missing.
    class_names
        The names of all classes [C].
    """
    by_class = {name: _class_means(*values, len(class_names)) for name, values in similarity.items()}
    layers = range(1, by_class["clean"].shape[1] + 1)
    if len(class_names) > MOST_PANELS:
        figure, axis = plt.subplots(figsize=(6, 4))
        for means, line in style.series(by_class):
            axis.plot(layers, similarity[line["label"]][0].mean(axis=0), **line, markersize=4)
            quartiles = np.nanquantile(means, [0.25, 0.75], axis=0)
            axis.fill_between(layers, *quartiles, color=line["color"], alpha=0.2, lw=0)
        axis.set(xlabel="layer", ylabel="similarity to the true class", title="mean; band: quartiles over classes")
        axis.set_xticks(layers)
        axis.legend()
        return figure
    figure, axes = style.panels(len(class_names), 5, size=(2.1, 1.9), margin=(0.6, 0.9))
    rows, columns = axes.shape
    for number, (axis, title) in enumerate(zip(axes.flat, class_names, strict=False)):
        for means, line in style.series(by_class):
            axis.plot(layers, means[number], **line, markersize=3, linewidth=1.2)
        axis.set(title=title, xticks=layers)
        if number + columns >= len(class_names):  # no panel below
            axis.set_xlabel("layer")
            axis.tick_params(labelbottom=True)
    label = "mean similarity to the true class"
    # one row of panels is not high enough for the label in one line
    figure.supylabel(label.replace(" to ", "\nto ") if rows == 1 else label, fontsize=10)
    style.legend_below(figure, axes[0, 0], columns)
    return figure


def _class_means(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean of the values [N, L] over the images of each class, [C, L]; NaN for classes without images."""
    means = np.full((classes, values.shape[1]), np.nan)
    for label in np.unique(labels):
        means[label] = values[labels == label].mean(axis=0, dtype=float)
    return means


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
        axis.set(xlabel=r"detection score $S_{\max}$", title=name)
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
        On ``clean`` images, first, and by attack: accuracy by layer [L], and that of the undefended network, which
        dashed lines show; in [0, 1].
    voting
        The voting layers, by what selected them; listed beside the legend.
    """
    layers = range(1, len(accuracy["clean"][0]) + 1)
    figure, axis = plt.subplots(figsize=(6.8, 4.2))
    for (by_layer, network), line in style.series(accuracy):
        axis.plot(layers, 100 * np.asarray(by_layer), **line)
        label = f"network alone, {line['label']}"
        axis.axhline(100 * network, color=line["color"], linestyle="--", linewidth=1, label=label)
    axis.set(xlabel="layer", ylabel="accuracy of the nearest centroid (%)", ylim=(-3, 103), xticks=layers)
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
