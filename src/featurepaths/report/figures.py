"""The experiment's figures. Every function takes arrays and returns a matplotlib figure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from featurepaths.store.atomic import atomic

# Okabe and Ito's colours, which the colour-blind can tell apart
CLEAN = "#0072B2"
ATTACKED = ["#D55E00", "#CC79A7", "#009E73", "#E69F00", "#56B4E9", "#000000"]
MARKERS = "osD^vP"
THRESHOLD_STYLES = ["-", "--", ":", "-."]
MOST_PANELS = 20

STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": 150,
    "figure.titlesize": 12,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "savefig.dpi": 150,
    "svg.hashsalt": "featurepaths",
}


mpl.rcParams.update(STYLE)


KINDS = {"png": {"Software": None}, "svg": {"Date": None}}
"""The files of every figure, and what to leave out of them because it changes."""


def save(figure: Figure, title: str, base: Path) -> None:
    """Put a title above a figure and write it as `base`.png and `base`.svg, the same bytes for the same figure."""
    add_title(figure, title)
    for kind, metadata in KINDS.items():
        with atomic(Path(f"{base}.{kind}")) as temporary:
            figure.savefig(temporary, metadata=metadata)
        figure.set_layout_engine("none")  # once is enough, and takes a quarter of the time
    plt.close(figure)


def add_title(figure: Figure, title: str) -> None:
    """Put a title above a figure, in several lines if it is longer than the figure is wide."""
    figure.suptitle(title, x=0.01, ha="left", wrap=True)


def mean_paths(similarity: Mapping[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]) -> Figure:
    """Figure 1: mean similarity of images to their true class, by layer, one panel a class.

    Where there are more than 20 classes one panel shows the mean over all images, and the quartiles of the classes.

    Parameters
    ----------
    similarity
        Of clean images, first, and by attack: similarity to the true class in every layer [N, L], and the images'
        classes [N], which need not be all of them.
    """
    by_class = {name: _mean_by_class(*of_images, len(class_names)) for name, of_images in similarity.items()}
    layers = np.arange(1, by_class["clean"].shape[1] + 1)
    if len(class_names) > MOST_PANELS:
        figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
        for (name, means), (color, marker) in zip(by_class.items(), _looks(), strict=False):
            axis.plot(layers, similarity[name][0].mean(axis=0), color=color, marker=marker, markersize=4, label=name)
            axis.fill_between(layers, *np.nanquantile(means, [0.25, 0.75], axis=0), color=color, alpha=0.2, lw=0)
        axis.set(xlabel="layer", ylabel="similarity to the true class", title="mean; band: quartiles of the classes")
        axis.set_xticks(layers)
        axis.legend()
        return figure
    columns = min(5, len(class_names))
    rows = -(-len(class_names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.1 * columns + 0.6, 1.9 * rows + 0.9), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for number, axis in enumerate(axes.flat):
        if number >= len(class_names):
            axis.set_axis_off()
            continue
        for (name, means), (color, marker) in zip(by_class.items(), _looks(), strict=False):
            axis.plot(layers, means[number], color=color, marker=marker, markersize=3, linewidth=1.2, label=name)
        axis.set_title(class_names[number])
        axis.set_xticks(layers)
        if number + columns >= len(class_names):  # nothing stands below
            axis.set_xlabel("layer")
            axis.tick_params(labelbottom=True)
    label = "mean similarity to the true class"
    # which is longer than one row of panels is high
    figure.supylabel(label.replace(" to ", "\nto ") if rows == 1 else label, fontsize=10)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), columns))
    return figure


def score_histograms(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]], thresholds: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Figures 2 and 4: histograms of the detection score of clean and adversarial images, with the thresholds.

    Parameters
    ----------
    scores
        By attack, the scores [N] of clean images and of adversarial ones: one panel an attack.
    thresholds
        By attack, thresholds by what to call them.
    """
    figure, axes = plt.subplots(
        1, len(scores), figsize=(4.6 * len(scores) + 0.4, 4.4), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    bins = np.histogram_bin_edges(np.concatenate([part for pair in scores.values() for part in pair]), bins=40)
    for axis, (name, (clean, adversarial)), color in zip(axes.flat, scores.items(), cycle(ATTACKED), strict=False):
        axis.hist(clean, bins, color=CLEAN, alpha=0.55, label="clean")
        axis.hist(adversarial, bins, color=color, alpha=0.55, label=name)
        for (method, threshold), dashes in zip(thresholds[name].items(), cycle(THRESHOLD_STYLES), strict=False):
            label = f"{method}: τ = {threshold:.4f}"
            axis.axvline(threshold, color="black", linewidth=1.2, linestyle=dashes, label=label)
        axis.set(xlabel=r"detection score $S_{\max}$", title=name)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)
        axis.grid(axis="x", visible=False)
    axes[0, 0].set_ylabel("images")
    return figure


def layer_accuracies(
    clean: Sequence[float],
    attacked: Mapping[str, Sequence[float]],
    network: Mapping[str, float],
    voting: Mapping[str, Sequence[int]],
) -> Figure:
    """Figures 3 and 5: accuracy of each layer's nearest centroid, on clean and adversarial images.

    Parameters
    ----------
    clean, attacked
        Accuracy by layer [L], on clean images and by attack.
    network
        Accuracy of the undefended network under ``clean`` and under each attack: dashed lines.
    voting
        The layers that vote, by what selected them, to be named beside the legend.
    """
    series = {"clean": clean, **attacked}
    layers = np.arange(1, len(clean) + 1)
    figure, axis = plt.subplots(figsize=(6.8, 4.2), layout="constrained")
    for (name, values), (color, marker) in zip(series.items(), _looks(), strict=False):
        axis.plot(layers, 100 * np.asarray(values), color=color, marker=marker, label=name)
        axis.axhline(100 * network[name], color=color, linestyle="--", linewidth=1, label=f"network alone, {name}")
    axis.set(xlabel="layer", ylabel="accuracy of the nearest centroid (%)", ylim=(-3, 103))
    axis.set_xticks(layers)
    named = [f"  {name}: {', '.join(map(str, layers))}" for name, layers in voting.items()]
    text = "\n".join(["voting layers, by protocol", *named])
    outside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    axis.legend(**outside, title=text, title_fontsize=8, fontsize=8, alignment="left")
    return figure


def roc_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]]) -> Figure:
    """ROC curves of the detector: by attack, the false and true positive rates and the area under them."""
    figure, axis = plt.subplots(figsize=(5.2, 5.2), layout="constrained")
    for (name, (false_rate, true_rate, area)), color in zip(curves.items(), cycle(ATTACKED), strict=False):
        axis.plot(false_rate, true_rate, color=color, label=f"{name}: AUROC {area:.3f}")
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1, label="chance")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.legend(loc="lower right", fontsize=8)
    return figure


def collapse_by_layer(runs: Mapping[str, Sequence[Mapping[str, Any]]], threshold: float) -> Figure:
    """PFC1, PFC2 and PFC3 of every run, by layer; from `threshold` on, PFC3 counts as collapsed."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    for (name, layers), (color, marker) in zip(runs.items(), _looks(), strict=False):
        for axis, metric in zip(axes, ("pfc1", "pfc2", "pfc3"), strict=True):
            numbers = [layer["layer"] for layer in layers]
            values = np.array([layer[metric] for layer in layers], dtype=float)
            axis.plot(numbers, values, color=color, marker=marker, markersize=4, label=name)
            axis.set_xticks(range(1, max(int(axis.get_xlim()[1]), numbers[-1]) + 1))
    axes[0].set(title=r"PFC1: $\mathrm{tr}(S_W S_B^+)/C$", yscale="log")
    axes[1].set(title="PFC2: distance of the class means to a simplex ETF")
    axes[2].set(title="PFC3: nearest-class-mean accuracy")
    axes[2].axhline(threshold, color="grey", linestyle=":", linewidth=1, label=f"collapsed from {threshold:g}")
    for axis in axes:
        axis.set_xlabel("layer")
    handles, names = axes[2].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5))
    return figure


def training_curves(runs: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Loss and accuracy on the training images, as they were trained on, and the learning rate, by epoch."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    for (name, table), (color, marker) in zip(runs.items(), _looks(), strict=False):
        look = {"color": color, "marker": marker, "markersize": 3, "markevery": max(1, len(table["epoch"]) // 20)}
        axes[0].plot(table["epoch"], table["loss"], label=name, **look)
        axes[1].plot(table["epoch"], 100 * np.asarray(table["accuracy"]), **look)
        axes[2].plot(table["epoch"], table["learning_rate"], **look)
    axes[0].set(title="loss", yscale="log")
    axes[1].set(title="accuracy (%)")
    axes[2].set(title="learning rate at the epoch's end")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5))
    return figure


def _mean_by_class(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the mean of values [N, L] over each class's images: [classes, L], NaN for a class that has none."""
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, labels, values)
    counts = np.bincount(labels, minlength=classes)[:, None]
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _looks() -> Iterator[tuple[str, str]]:
    return zip(cycle([CLEAN, *ATTACKED]), cycle(MARKERS), strict=False)
