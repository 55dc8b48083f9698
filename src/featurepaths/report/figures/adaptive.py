"""Figures of the adaptive evaluation and of all detectors. Every function takes numbers and returns a figure."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from featurepaths.report.figures import style
from featurepaths.report.figures.style import plt
from featurepaths.statistics.metrics import wilson

DEFENDED_LINE, UNDEFENDED_LINE = "-", "--"
NETWORK_ATTACKED = "network alone, attack aimed at it"
GUESSING = 50
"""Balanced accuracy of a detector that guesses, in per cent."""


def accuracy_curves(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy under attack against the size of the perturbation and against the search budget.

    Parameters
    ----------
    runs
        By name, the content of ``controls/<pooling>.json``. Solid lines: the defence; dashed: the undefended network.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    sizes = {at["eps"]: at["multiple"] for content in runs.values() for at in content["eps"]}
    # budgets in the order of the searches, each of which continues from the previous ones
    budgets = dict.fromkeys((at["iterations"], at["restarts"]) for content in runs.values() for at in content["budget"])
    places = {budget: place for place, budget in enumerate(budgets)}
    for (name, content), line_style in zip(runs.items(), style.series_styles(), strict=False):
        for side, dashes in (("defended", DEFENDED_LINE), ("undefended", UNDEFENDED_LINE)):
            line_style |= {"markersize": 5, "linestyle": dashes, "label": name, "clip_on": False}
            line_style |= {"markerfacecolor": line_style["color"] if side == "defended" else "white"}
            for axis, key, place in (
                (left, "eps", lambda at: at["eps"]),
                (right, "budget", lambda at: places[at["iterations"], at["restarts"]]),
            ):
                correct = np.array([at[f"{side}_correct"] for at in content[key]])
                axis.plot([place(at) for at in content[key]], 100 * correct / content["n"], **line_style)
    _scale_of_sizes(left, sizes)
    images = sorted({content["n"] for content in runs.values()})
    counted = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}"
    left.set(title="larger perturbations", ylabel=f"accuracy (%) of {counted} images", ylim=(-2, 102))
    right.set(title="longer searches (worst case so far)", xlabel="iterations × restarts")
    right.set_xticks(list(places.values()), [f"{iterations}×{restarts}" for iterations, restarts in places])
    right.margins(x=0.08)
    handles = left.get_lines()[::2]
    grey = {"color": "grey", "marker": "o", "markersize": 5}
    handles.append(Line2D([], [], **grey, linestyle=DEFENDED_LINE, label="feature paths"))
    handles.append(Line2D([], [], **grey, linestyle=UNDEFENDED_LINE, label=NETWORK_ATTACKED, markerfacecolor="white"))
    style.legend_below(figure, handles, columns=3, handlelength=3)
    return figure


def _scale_of_sizes(axis: Axes, sizes: Mapping[float, str]) -> None:
    """Give every doubling of eps the same width, and show 0."""
    smallest = min((eps for eps in sizes if eps > 0), default=1.0)
    axis.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    axis.xaxis.set_major_locator(FixedLocator(sorted(sizes)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(sorted(sizes), [f"{eps:.3g}\n×{sizes[eps]}" if eps else "0" for eps in sorted(sizes)])
    axis.set_xlim(-0.1 * smallest, 1.15 * max(sizes, default=1.0))
    axis.set_xlabel("eps, absolute and relative to the attack's eps")


def detector_rocs(
    oblivious: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    adaptive: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
) -> Figure:
    """ROC curves of every detector with a logarithmic axis of false positives, under oblivious and adaptive attacks.

    Parameters
    ----------
    oblivious, adaptive
        By detector, false and true positive rates at every threshold, and the area under the curve.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.8), sharey=True)
    names = dict.fromkeys([*oblivious, *adaptive])
    styles = cycle({"color": color, "linestyle": dashes} for dashes in style.DASHES for color in style.COLOURS)
    style_of = dict(zip(names, styles, strict=False))
    rates = [rate for curves in (oblivious, adaptive) for rate, _, _ in curves.values()]
    smallest = min((rate[rate > 0].min() for rate in rates if (rate > 0).any()), default=0.01)
    titles = ("oblivious: the attacker does not know the detector", "adaptive: the attacker aims at the detector")
    for axis, curves, title in zip(axes, (oblivious, adaptive), titles, strict=True):
        for name, (false_rate, true_rate, area) in curves.items():
            axis.plot(false_rate, true_rate, **style_of[name], label=f"{name}: AUROC {area:.3f}")
        chance = np.geomspace(smallest, 1, 100)
        axis.plot(chance, chance, **style.CHANCE, label="chance: AUROC 0.500")
        for rate in (0.01, 0.05):
            axis.axvline(rate, color="grey", linewidth=0.8, zorder=0)
        axis.set(xscale="log", xlim=(min(smallest, 0.01), 1), ylim=(-0.01, 1.01), title=title)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel="false positive rate (grey lines: 1 % and 5 %)")
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
    rules = dict.fromkeys(rule for content in runs.values() for rule in content["defended"]["oblivious_correct"])
    series = _verdict_series(list(rules))
    apart = 0.8 / len(series)
    figure, axis = plt.subplots(figsize=(8.6, 1.9 + (0.25 + 0.115 * len(series)) * len(runs)))
    for position, (name, color, marker, filled, count) in enumerate(series):
        counts = [(place, count(content), content["n"]) for place, content in enumerate(runs.values())]
        counts = [(place, correct, n) for place, correct, n in counts if correct is not None]
        rates = 100 * np.array([correct / n for _, correct, n in counts])
        ends = 100 * np.array([wilson(correct, n) for _, correct, n in counts]).reshape(-1, 2)
        heights = [place - 0.4 + (position + 0.5) * apart for place, _, _ in counts]
        # an interval contains its rate up to rounding
        bars = np.maximum([rates - ends[:, 0], ends[:, 1] - rates], 0)
        axis.errorbar(
            rates, heights, xerr=bars, label=name, color=color, fmt=marker, markersize=7, capsize=3, linewidth=1.2,
            markerfacecolor=color if filled else "white", clip_on=False, zorder=3,
        )  # fmt: skip
        for rate, (_, high), height in zip(rates, ends, heights, strict=True):
            axis.annotate(
                f"{rate:.1f}", (high, height), xytext=(6, 0), textcoords="offset points", va="center", fontsize=7.5,
                annotation_clip=False,
            )  # fmt: skip
    for place in range(0, len(runs), 2):
        axis.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.05, linewidth=0, zorder=0)
    axis.set_yticks(range(len(runs)), list(runs))
    axis.set(xlim=(0, 106), ylim=(len(runs) - 0.5, -0.5), xlabel="accuracy (%), with 95 % intervals")
    axis.set_xticks(range(0, 101, 20))
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", visible=False)
    style.legend_below(figure, axis, columns=2, handlelength=3)
    return figure


def _verdict_series(stopping_rules: Sequence[str]) -> list[tuple[str, str, str, bool, Any]]:
    """Return the dots of a network from top to bottom: name, colour, marker, whether filled, and its count."""

    def count(side: str, key: str) -> Any:
        return lambda content: content[side][f"{key}_correct"]

    colours = cycle(style.ATTACKED[place] for place in (4, 3, 1))
    oblivious = zip(stopping_rules, colours, cycle("v^<>"), strict=False)
    return [
        ("network alone, no attack", style.CLEAN, "o", False, count("undefended", "clean")),
        ("feature paths, no attack", style.CLEAN, "o", True, count("defended", "clean")),
        *(
            (f"feature paths, oblivious attack, {rule}", color, marker, True,
             lambda content, rule=rule: content["defended"]["oblivious_correct"].get(rule))
            for rule, color, marker in oblivious
        ),
        ("feature paths, adaptive attack", style.ATTACKED[0], "D", True, count("defended", "adaptive")),
        (NETWORK_ATTACKED, style.ATTACKED[5], "D", False, count("undefended", "adaptive")),
    ]  # fmt: skip


def matrix_figure(detectors: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Balanced accuracy of every detector, calibrated on one attack and tested on another: one panel per detector.

    Parameters
    ----------
    detectors
        By name, the cells: ``calibrated_on``, ``tested_on``, ``n``, ``flagged_clean`` and ``flagged_adversarial``.
        Missing cells stay empty.
    """
    rows, columns = style.panel_grid(len(detectors), 3)
    cells = [cell for matrix in detectors.values() for cell in matrix]
    from_attacks = list(dict.fromkeys(cell["calibrated_on"] for cell in cells))
    to_attacks = list(dict.fromkeys(cell["tested_on"] for cell in cells))
    longest = 0.07 * max(map(len, [*from_attacks, *to_attacks]))
    width = columns * max(0.62 * len(to_attacks) + 0.9, 2.2) + longest + 1.6
    height = rows * (0.5 * len(from_attacks) + 0.7) + longest + 1
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), **style.SHARED_AXES)
    for axis in axes.flat[len(detectors) :]:
        axis.set_axis_off()
    for number, (axis, (name, matrix)) in enumerate(zip(axes.flat, detectors.items(), strict=False)):
        values = np.full((len(from_attacks), len(to_attacks)), np.nan)
        for cell in matrix:
            right = (cell["flagged_adversarial"] + cell["n"] - cell["flagged_clean"]) / (2 * cell["n"])
            values[from_attacks.index(cell["calibrated_on"]), to_attacks.index(cell["tested_on"])] = 100 * right
        # guessing is white, worse than guessing red; people with colour blindness can distinguish both
        image = axis.imshow(values, cmap="RdBu", vmin=0, vmax=2 * GUESSING, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                color = "white" if abs(value - GUESSING) > 0.64 * GUESSING else "black"
                axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=color)
        axis.set_title(name)
        axis.set_xticks(range(len(to_attacks)), to_attacks, rotation=90)
        axis.set_yticks(range(len(from_attacks)), from_attacks)
        axis.grid(visible=False)
        # shared axes label only the last row, but a panel may have none below it: its labels fill the empty place
        if number + columns >= len(detectors):
            axis.tick_params(axis="x", labelbottom=True)
            for label in axis.get_xticklabels():
                label.set_in_layout(number // columns == rows - 1)
    figure.supxlabel("tested on", fontsize=10)
    figure.supylabel("calibrated on", fontsize=10)
    bar = figure.colorbar(image, ax=axes, label="balanced accuracy (%)", shrink=0.9)
    bar.ax.axhline(GUESSING, color="black", linewidth=1)
    return figure
