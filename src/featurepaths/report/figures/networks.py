"""Figures over all networks: progressive feedforward collapse by layer, and training curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt

CALIBRATION = "calibration_accuracy"
"""The column of the accuracy on images that are not trained on."""


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
        axis.set(title=title, xlabel="layer", xticks=style.layer_ticks(max(map(len, runs.values()))))
    style.label_log_axis(axes[0])
    axes[2].axhline(threshold, **style.CHANCE, label=f"collapsed from {threshold:g}")
    style.legend_below(figure, axes[2], columns=5)
    return figure


def training_curves(runs: Mapping[str, np.ndarray]) -> Figure:
    """Loss and accuracy on the training images and learning rate, by epoch; accuracy on calibration images dashed.

    The tables of the runs are structured arrays, with the column ``calibration_accuracy`` where there are such images.
    """
    figure, (losses, accuracies, rates) = plt.subplots(1, 3, figsize=(11, 4.1))
    schedules: dict[bytes, list[tuple[np.ndarray, dict[str, Any]]]] = {}
    for table, line in style.series(runs):
        epochs, line = table["epoch"], line | {"markersize": 3, "markevery": max(1, len(table) // 20)}
        losses.plot(epochs, table["loss"], **line)
        accuracies.plot(epochs, 100 * table["accuracy"], **line)
        if CALIBRATION in table.dtype.names:
            dashed = {"linestyle": "--", "markerfacecolor": "white"}
            accuracies.plot(epochs, 100 * table[CALIBRATION], **line | dashed)
        schedules.setdefault(table["learning_rate"].tobytes(), []).append((table, line))
    for same in schedules.values():
        table, line = same[0]
        if len(same) > 1:  # equal curves would hide each other
            line = line | {"label": "\n".join(each["label"] for _, each in same), "color": "black"}
        rates.plot(table["epoch"], table["learning_rate"], **line)
    titles = "loss on the training images", "accuracy (%)", "learning rate at the end of the epoch"
    for axis, title in zip((losses, accuracies, rates), titles, strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    style.label_log_axis(losses)
    if len(schedules) < len(runs):
        rates.legend(fontsize=7)
    names = {"training images, as trained on": "-"}
    if any(CALIBRATION in table.dtype.names for table in runs.values()):
        names["clean calibration images, after the epoch"] = "--"
    kinds = [Line2D([], [], color="grey", label=name, linestyle=dashes) for name, dashes in names.items()]
    style.legend_below(figure, [*losses.get_lines(), *kinds], columns=4)
    return figure
