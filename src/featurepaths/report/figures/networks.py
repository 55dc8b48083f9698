"""Figures over all networks: progressive feedforward collapse by layer, and training curves."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt


def collapse_by_layer(runs: Mapping[str, np.ndarray], threshold: float) -> Figure:
    """PFC1, PFC2 and PFC3 of every run, by layer; a layer counts as collapsed if PFC3 reaches `threshold`.

    The tables of the runs are structured arrays.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9))
    titles = {
        "pfc1": r"PFC1: $\mathrm{tr}(S_W S_B^+)/C$",
        "pfc2": "PFC2: distance of the class means to a simplex ETF",
        "pfc3": "PFC3: nearest-class-mean accuracy",
    }
    for axis, (metric, title) in zip(axes, titles.items(), strict=True):
        for layers, line in style.series(runs):
            axis.plot(layers["layer"], layers[metric], **line, markersize=4)
        axis.set(title=title, xlabel="layer", xticks=range(1, max(map(len, runs.values())) + 1))
    axes[0].set(yscale="log")
    axes[2].axhline(threshold, **style.CHANCE, label=f"collapsed from {threshold:g}")
    style.legend_below(figure, axes[2], columns=5)
    return figure


def training_curves(runs: Mapping[str, np.ndarray]) -> Figure:
    """Loss and accuracy on the training images, augmented or attacked as in training, and learning rate, by epoch.

    The tables of the runs are structured arrays.
    """
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9))
    columns = {"loss": "loss", "accuracy": "accuracy (%)", "learning_rate": "learning rate at the end of the epoch"}
    for axis, (column, title) in zip(axes, columns.items(), strict=True):
        for table, line in style.series(runs):
            values = 100 * table[column] if column == "accuracy" else table[column]
            axis.plot(table["epoch"], values, **line, markersize=3, markevery=max(1, len(table) // 20))
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set(yscale="log")
    style.legend_below(figure, axes[0], columns=5)
    return figure
