"""Confusion matrices of attacked test images, by the network and by the votes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt
from featurepaths.statistics.attacked_images import AttackedImages, confusion_matrix

MOST_CLASSES = 20
"""A confusion matrix of more classes shows those that are predicted most often, and the others as one."""
OTHERS = "others"
LONGEST_NAME, UPRIGHT = 16, 2
"""Characters of a class's name: at most so many are shown, and so many have room beside each other."""
TITLE, HEADING, GAP = 0.6, 0.5, 0.3
"""Of the figure, of every panel, and between panels, in inches."""


def confusion_figure(attacks: Sequence[AttackedImages], class_names: Sequence[str]) -> Figure:
    """Confusion matrices of the network and of the votes, of attacked images: a row of panels for every attack.

    Cells are numbers of images, shaded by their share of the true class. With more than `MOST_CLASSES` classes, those
    that are predicted most often, over all panels, have a row and a column each, and the others share one.
    """
    panels = [
        (f"{images.title.partition(' (')[0]}\n{who}", images.labels, predictions)
        for images in attacks
        for who, predictions in (("network alone", images.predictions), (images.votes_of, images.votes))
    ]
    counts = [confusion_matrix(labels, predictions, len(class_names)) for _, labels, predictions in panels]
    kept = most_predicted(sum(counts))
    names = [style.shortened(class_names[label], LONGEST_NAME) for label in kept]
    names += [OTHERS] * (len(kept) < len(class_names))
    side, longest = max(3.2, 0.3 * len(names)), max(map(len, names))
    left, bottom = 0.5 + 0.08 * longest, 0.6 + 0.08 * longest * (longest > UPRIGHT)
    size = left + 2 * side + GAP + 0.15, TITLE + len(attacks) * (side + HEADING) + bottom
    figure, axes = plt.subplots(len(attacks), 2, figsize=size, squeeze=False, sharex=True, sharey=True, layout="none")
    # a layout that is known in advance takes no time
    figure.subplots_adjust(
        left=left / size[0], right=1 - 0.15 / size[0], bottom=bottom / size[1], top=1 - (TITLE + HEADING) / size[1],
        wspace=GAP / side, hspace=HEADING / side,
    )  # fmt: skip
    for axis, (title, labels, predictions), matrix in zip(axes.flat, panels, counts, strict=True):
        _draw(axis, pooled(matrix, kept))
        axis.set_title(f"{title}: {100 * (predictions == labels).mean():.1f} % of {len(labels):,} correct", fontsize=9)
    for axis in axes[-1]:  # panels share their ticks, but not the rotation
        axis.set_xticks(range(len(names)), names, rotation=90 if longest > UPRIGHT else 0)
    axes[0, 0].set_yticks(range(len(names)), names)
    figure.supxlabel("predicted class", fontsize=10)
    figure.supylabel("true class", fontsize=10)
    return figure


def most_predicted(matrix: np.ndarray) -> np.ndarray:
    """Return the ascending classes that a confusion matrix shows one by one: all, or those that are predicted most."""
    if len(matrix) <= MOST_CLASSES:
        return np.arange(len(matrix))
    return np.sort(np.argsort(-matrix.sum(axis=0), kind="stable")[: MOST_CLASSES - 1])


def pooled(matrix: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return a confusion matrix with all classes but the `kept` ones pooled into one at the end, if there are any."""
    others = np.setdiff1d(np.arange(len(matrix)), kept)
    if len(others) == 0:
        return matrix
    groups = [*([label] for label in kept), others]
    return np.array([[matrix[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])


def _draw(axis: Axes, matrix: np.ndarray) -> None:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row, column in np.argwhere(matrix):
        color = "white" if shares[row, column] > 0.55 else "black"
        axis.text(column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=7, color=color)
    axis.tick_params(length=0)
    axis.grid(visible=False)
