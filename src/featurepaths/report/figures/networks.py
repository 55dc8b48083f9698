"""Figures over all networks: progressive feedforward collapse by layer, and training curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt


def collapse_by_layer(runs: Mapping[str, Sequence[Mapping[str, Any]]], threshold: float) -> Figure:
    """PFC1, PFC2 and PFC3 of every run, by layer; a layer counts as collapsed if PFC3 reaches `threshold`."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9))
    most = max(layers[-1]["layer"] for layers in runs.values())
    for axis, metric in zip(axes, ("pfc1", "pfc2", "pfc3"), strict=True):
        for (name, layers), line_style in zip(runs.items(), style.series_styles(), strict=False):
            numbers = [layer["layer"] for layer in layers]
            values = np.array([layer[metric] for layer in layers], dtype=float)
            axis.plot(numbers, values, **line_style, markersize=4, label=name)
        axis.set(xlabel="layer", xticks=range(1, most + 1))
    axes[0].set(title=r"PFC1: $\mathrm{tr}(S_W S_B^+)/C$", yscale="log")
    axes[1].set(title="PFC2: distance of the class means to a simplex ETF")
    axes[2].set(title="PFC3: nearest-class-mean accuracy")
    axes[2].axhline(threshold, **style.CHANCE, label=f"collapsed from {threshold:g}")
    style.legend_below(figure, axes[2], columns=5)
    return figure


def training_curves(runs: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Loss and accuracy on the training images, augmented or attacked as in training, and learning rate, by epoch."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9))
    for (name, table), line_style in zip(runs.items(), style.series_styles(), strict=False):
        line_style |= {"markersize": 3, "markevery": max(1, len(table["epoch"]) // 20)}
        axes[0].plot(table["epoch"], table["loss"], label=name, **line_style)
        axes[1].plot(table["epoch"], 100 * np.asarray(table["accuracy"]), **line_style)
        axes[2].plot(table["epoch"], table["learning_rate"], **line_style)
    axes[0].set(title="loss", yscale="log")
    axes[1].set(title="accuracy (%)")
    axes[2].set(title="learning rate at the end of the epoch")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    style.legend_below(figure, axes[0], columns=5)
    return figure
