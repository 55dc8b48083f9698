"""Figures of the adaptive evaluation and of all detectors. Every function takes numbers and returns a figure."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt
from featurepaths.report.results import counted_range
from featurepaths.statistics.metrics import wilson

NETWORK_ATTACKED = "network alone, attack aimed at it"
SIDES = {"defended": {"linestyle": "-"}, "undefended": {"linestyle": "--", "markerfacecolor": "white"}}
MOST_COLUMNS = 4
NAMED_ATTACKS = 4
"""Up to so many attacks have their names at the axes of the calibration matrix."""
GUESSING = 50
"""Balanced accuracy of a detector that guesses, in per cent."""


def _label(budget: Mapping[str, int]) -> str:
    targets = f"\n{budget['n_targets']} targets" if budget["n_targets"] else ""
    return f"{budget['iterations']}×{budget['restarts']}{targets}"


def accuracy_curves(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy under attack against the size of the perturbation and against the search budget.

    Parameters
    ----------
    runs
        By name, the content of ``controls/<pooling>.json``. Solid lines: the defence; dashed: the undefended network.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    multiples = {at["eps"]: at["multiple"] for content in runs.values() for at in content["eps"]}
    searches = {name: [_label(at) for at in runs[name]["budget"]] for name in runs}
    # budgets in the order of the searches, each of which continues from the previous ones
    budgets = list(dict.fromkeys(search for run in searches.values() for search in run))
    for content, line in style.series(runs):
        eps, places = [at["eps"] for at in content["eps"]], [budgets.index(at) for at in searches[line["label"]]]
        for side, looks in SIDES.items():
            for axis, control, x in ((left, "eps", eps), (right, "budget", places)):
                accuracy = [100 * at[f"{side}_correct"] / content["n"] for at in content[control]]
                axis.plot(x, accuracy, **line, **looks, markersize=5, clip_on=False)
    # every doubling of eps has the same width, and 0 is shown
    sizes, smallest = sorted(multiples), min((eps for eps in multiples if eps > 0), default=1.0)
    left.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    left.set_xticks(sizes, [f"{eps:.3g}\n×{multiples[eps]}" if eps else "0" for eps in sizes])
    left.minorticks_off()
    left.set(
        xlim=(-0.1 * smallest, 1.15 * max(sizes, default=1.0)), xlabel="eps, absolute and relative to the attack's eps"
    )
    images = sorted({content["n"] for content in runs.values()})
    counted = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}"
    left.set(title="larger perturbations", ylabel=f"accuracy (%) of {counted} images", ylim=(-2, 102))
    right.set(title="longer searches (worst case so far)", xlabel="iterations × restarts, target classes")
    right.set_xticks(range(len(budgets)), budgets)
    right.margins(x=0.08)
    names = {"defended": "feature paths", "undefended": NETWORK_ATTACKED}
    grey = {"color": "grey", "marker": "o", "markersize": 5}
    sides = [Line2D([], [], **grey, **SIDES[side], label=name) for side, name in names.items()]
    style.legend_below(figure, [*left.get_lines()[::2], *sides], columns=3, handlelength=3)
    return figure


def detector_rocs(
    oblivious: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    adaptive: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
) -> Figure:
    """ROC curves of every detector with a logarithmic axis of false positives, under oblivious and adaptive attacks.

    Attacks without curves have no panel.

    Parameters
    ----------
    oblivious, adaptive
        By detector, false and true positive rates at every threshold, and the area under the curve.
    """
    panels = {"oblivious: the attacker does not know the detector": oblivious,
              "adaptive: the attacker aims at the detector": adaptive}  # fmt: skip
    panels = {title: curves for title, curves in panels.items() if curves}
    size = 5.75 * len(panels), 4.8
    figure, (axes,) = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    looks = cycle({"color": color, "linestyle": dashes} for dashes in style.DASHES for color in style.COLOURS)
    look_of = dict(zip(dict.fromkeys([*oblivious, *adaptive]), looks, strict=False))
    rates = [rate[rate > 0] for curves in (oblivious, adaptive) for rate, _, _ in curves.values()]
    smallest = min((rate.min() for rate in rates if len(rate)), default=0.01)
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, (false_rate, true_rate, area) in curves.items():
            axis.plot(false_rate, true_rate, **look_of[name], label=f"{name}: AUROC {area:.3f}")
        chance = np.geomspace(smallest, 1, 100)
        axis.plot(chance, chance, **style.CHANCE, label="chance: AUROC 0.500")
        for rate in (0.01, 0.05):
            axis.axvline(rate, color="grey", linewidth=0.8, zorder=0)
        axis.set(xscale="log", xlim=(min(smallest, 0.01), 1), ylim=(-0.01, 1.01), title=title)
        axis.set(xlabel="false positive rate (grey lines: 1 % and 5 %)")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        # below the panel, because curves can pass anywhere inside it
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8)
    axes[0].set_ylabel("true positive rate")
    return figure


def verdict_figure(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy with and without feature paths: without an attack, under oblivious and under adaptive attacks.

    Parameters
    ----------
    runs
        By name, the content of ``adaptive/<pooling>.json``. Bars are 95 % Wilson intervals.
    """
    series = _verdict_series(list(runs.values()))
    figure, axis = plt.subplots(figsize=(8.6, 1.9 + (0.25 + 0.115 * len(series)) * len(runs)))
    for position, (name, color, marker, fill, all_correct) in enumerate(series):
        offset = (position + 0.5) * 0.8 / len(series) - 0.4
        counts = zip(all_correct, (content["n"] for content in runs.values()), strict=True)
        dots = [(place + offset, *count) for place, count in enumerate(counts) if count[0] is not None]
        heights = [height for height, _, _ in dots]
        rates = 100 * np.array([correct / n for _, correct, n in dots])
        ends = 100 * np.array([wilson(correct, n) for _, correct, n in dots])
        # an interval contains its rate up to rounding
        bars = np.maximum([rates - ends[:, 0], ends[:, 1] - rates], 0)
        axis.errorbar(
            rates, heights, xerr=bars, label=name, color=color, fmt=marker, markersize=7, capsize=3, linewidth=1.2,
            markerfacecolor=fill, clip_on=False, zorder=3,
        )  # fmt: skip
        for rate, high, height in zip(rates, ends[:, 1], heights, strict=True):
            axis.text(high + 1.4, height, f"{rate:.1f}", va="center", fontsize=7.5)
    for place in range(0, len(runs), 2):
        axis.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.05, linewidth=0, zorder=0)
    axis.set_yticks(range(len(runs)), list(runs))
    axis.set(xlim=(0, 106), ylim=(len(runs) - 0.5, -0.5), xlabel=f"accuracy (%) {_of_images(runs)}, 95 % intervals")
    axis.set_xticks(range(0, 101, 20))
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    # the dots alone: bars of 95 % intervals have no room in a legend
    dots = [Line2D([], [], color=color, marker=marker, markersize=7, markerfacecolor=fill, linestyle="", label=name)
            for name, color, marker, fill, _ in series]  # fmt: skip
    style.legend_below(figure, dots, columns=2)
    return figure


def _of_images(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return of which test images the rates of all runs are: adaptive attacks may run on some of them only."""
    counts = (content["n"] for content in runs.values())
    return f"of the {counted_range(counts, 'adaptively attacked test image')}"


def _verdict_series(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str, list[int | None]]]:
    """Return the dots of a run from top to bottom: name, colour, marker, fill, and the counts of all runs."""

    def correct(side: str, images: str) -> list[int | None]:
        return [content[side][f"{images}_correct"] for content in runs]

    rules = dict.fromkeys(rule for content in runs for rule in content["defended"]["oblivious_correct"])
    colours = cycle(style.ATTACKED[place] for place in (4, 3, 1))
    defended, alone = style.ATTACKED[0], style.ATTACKED[5]
    oblivious = [
        (f"feature paths, oblivious attack, {rule}", color, marker, color,
         [content["defended"]["oblivious_correct"].get(rule) for content in runs])
        for rule, color, marker in zip(rules, colours, cycle("v^<>"), strict=False)
    ]  # fmt: skip
    return [
        ("network alone, no attack", style.CLEAN, "o", "white", correct("undefended", "clean")),
        ("feature paths, no attack", style.CLEAN, "o", style.CLEAN, correct("defended", "clean")),
        *oblivious,
        ("feature paths, adaptive attack", defended, "D", defended, correct("defended", "adaptive")),
        (NETWORK_ATTACKED, alone, "D", "white", correct("undefended", "adaptive")),
    ]


def matrix_figure(detectors: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Balanced accuracy of every detector, calibrated on one attack and tested on another: one panel per detector.

    Attacks are named beside the panels, or numbered and listed below them where there are more than `NAMED_ATTACKS`.

    Parameters
    ----------
    detectors
        By name, the cells: ``calibrated_on``, ``tested_on``, ``n``, ``flagged_clean`` and ``flagged_adversarial``.
        Missing cells stay empty.
    """
    cells = [cell for matrix in detectors.values() for cell in matrix]
    from_attacks = list(dict.fromkeys(cell["calibrated_on"] for cell in cells))
    to_attacks = list(dict.fromkeys(cell["tested_on"] for cell in cells))
    attacks = list(dict.fromkeys([*from_attacks, *to_attacks]))
    named = len(attacks) <= NAMED_ATTACKS
    labels = {name: name.replace(".", "\n") if named else str(number) for number, name in enumerate(attacks, start=1)}
    width = 0.08 * max(len(line) for label in labels.values() for line in label.split("\n")) + 0.15
    size = max(max(width, 0.42) * len(to_attacks), 1.7), 0.42 * len(from_attacks) + 0.45
    columns = -(-len(detectors) // -(-len(detectors) // MOST_COLUMNS))  # about as many in each row
    listed = "" if named else "; ".join(f"{label}: {attack}" for attack, label in labels.items())
    explained = textwrap.wrap(listed, max(40, round(12 * columns * size[0])), break_on_hyphens=False)
    figure, axes = style.panels(len(detectors), columns, size, margin=(width + 1.2, 1.1 + 0.16 * len(explained)))
    rows, columns = axes.shape
    for number, (axis, name) in enumerate(zip(axes.flat, detectors, strict=False)):
        values = np.full((len(from_attacks), len(to_attacks)), np.nan)
        for cell in detectors[name]:
            right = cell["flagged_adversarial"] + cell["n"] - cell["flagged_clean"]
            place = from_attacks.index(cell["calibrated_on"]), to_attacks.index(cell["tested_on"])
            values[place] = 100 * (right / (2 * cell["n"]))
        # guessing is white, worse than guessing red; people with colour blindness can distinguish both
        image = axis.imshow(values, cmap="RdBu", vmin=0, vmax=2 * GUESSING, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                color = "white" if abs(value - GUESSING) > 0.64 * GUESSING else "black"
                axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=color)
        axis.set_title(name)
        axis.set_xticks(range(len(to_attacks)), [labels[attack] for attack in to_attacks])
        axis.set_yticks(range(len(from_attacks)), [labels[attack] for attack in from_attacks])
        axis.tick_params(length=0)
        axis.grid(visible=False)
        # shared axes label only the last row, but a panel may have none below it: its labels fill the empty place
        if number + columns >= len(detectors):
            axis.tick_params(axis="x", labelbottom=True)
            for label in axis.get_xticklabels():
                label.set_in_layout(number // columns == rows - 1)
    figure.supxlabel("\n".join(["tested on", *explained]), fontsize=10)
    figure.supylabel("calibrated on", fontsize=10)
    bar = figure.colorbar(image, ax=axes, label="balanced accuracy (%)", shrink=0.9, fraction=0.05, pad=0.01)
    bar.ax.axhline(GUESSING, color="black", linewidth=1)
    return figure
