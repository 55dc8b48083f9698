"""The figures of the adaptive evaluation. Every function takes plain numbers and returns a matplotlib figure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from featurepaths.report.figures import ATTACKED, CLEAN, MARKERS, THRESHOLD_STYLES, plt
from featurepaths.statistics.metrics import wilson

COLOURS = [CLEAN, *ATTACKED, "#882255"]
DEFENDED_LINE, UNDEFENDED_LINE = "-", "--"
MOST_COLUMNS = 3
CHANCE = 50


def accuracy_curves(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy under attack against the size of the perturbation and against the budget of the search.

    Parameters
    ----------
    runs
        By name, what ``controls/<pooling>.json`` holds. Solid lines: the defence; dashed: the undefended network.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    sizes = {at["eps"]: at["multiple"] for content in runs.values() for at in content["eps"]}
    # in the order in which they were searched, each on top of those before it
    budgets = dict.fromkeys((at["iterations"], at["restarts"]) for content in runs.values() for at in content["budget"])
    places = {budget: place for place, budget in enumerate(budgets)}
    for (name, content), color, marker in zip(runs.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        for side, dashes in (("defended", DEFENDED_LINE), ("undefended", UNDEFENDED_LINE)):
            look = {"color": color, "marker": marker, "markersize": 5, "linestyle": dashes, "label": name}
            look |= {"markerfacecolor": color if side == "defended" else "white", "clip_on": False}
            for axis, key, place in (
                (left, "eps", lambda at: at["eps"]),
                (right, "budget", lambda at: places[at["iterations"], at["restarts"]]),
            ):
                correct = np.array([at[f"{side}_correct"] for at in content[key]])
                axis.plot([place(at) for at in content[key]], 100 * correct / content["n"], **look)
    _scale_of_sizes(left, sizes)
    images = sorted({content["n"] for content in runs.values()})
    counted = f"{images[0]:,}" if len(images) == 1 else f"{images[0]:,} to {images[-1]:,}"
    left.set(title="stronger by a larger perturbation", ylabel=f"accuracy (%) of {counted} images", ylim=(-2, 102))
    right.set(title="stronger by a longer search (worst case so far)", xlabel="iterations × restarts")
    right.set_xticks(list(places.values()), [f"{iterations}×{restarts}" for iterations, restarts in places])
    right.margins(x=0.08)
    handles = left.get_lines()[::2]
    sides = [("feature paths", DEFENDED_LINE, "grey"), ("network alone, attack aimed at it", UNDEFENDED_LINE, "white")]
    for label, dashes, face in sides:
        look = {"color": "grey", "marker": "o", "markersize": 5, "markerfacecolor": face}
        handles.append(Line2D([], [], linestyle=dashes, label=label, **look))
    _legend_below(figure, handles, columns=3)
    return figure


def _scale_of_sizes(axis: Axes, sizes: Mapping[float, str]) -> None:
    """Give every doubling of eps the same room, and 0 a place."""
    smallest = min((eps for eps in sizes if eps > 0), default=1.0)
    axis.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    axis.xaxis.set_major_locator(FixedLocator(sorted(sizes)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(sorted(sizes), [f"{eps:.3g}\n×{sizes[eps]}" if eps else "0" for eps in sorted(sizes)])
    axis.set_xlim(-0.1 * smallest, 1.15 * max(sizes, default=1.0))
    axis.set_xlabel("eps, and in multiples of the attack's")


def detector_rocs(
    oblivious: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    adaptive: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
) -> Figure:
    """ROC curves of every detector, at small false positive rates: attackers who do not know it, and who do.

    Parameters
    ----------
    oblivious, adaptive
        By detector, false and true positive rates at every threshold, and the area under them.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 4.8), sharey=True, layout="constrained")
    names = list(dict.fromkeys([*oblivious, *adaptive]))
    every_look = zip(cycle(COLOURS), _dashes(len(COLOURS)), strict=False)
    looks = dict(zip(names, every_look, strict=False))
    rates = [rate for curves in (oblivious, adaptive) for rate, _, _ in curves.values()]
    smallest = min((rate[rate > 0].min() for rate in rates if (rate > 0).any()), default=0.01)
    titles = ("oblivious: the attacker does not know the detector", "adaptive: the attacker aims at the detector")
    for axis, curves, title in zip(axes, (oblivious, adaptive), titles, strict=True):
        for name, (false_rate, true_rate, area) in curves.items():
            color, dashes = looks[name]
            axis.plot(false_rate, true_rate, color=color, linestyle=dashes, label=f"{name}: AUROC {area:.3f}")
        chance = np.geomspace(smallest, 1, 100)
        axis.plot(chance, chance, color="grey", linestyle=":", linewidth=1, label="chance: AUROC 0.500")
        for rate in (0.01, 0.05):
            axis.axvline(rate, color="grey", linewidth=0.8, zorder=0)
        axis.set(xscale="log", xlim=(min(smallest, 0.01), 1), ylim=(-0.01, 1.01), title=title)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel="false positive rate (grey lines: 1 % and 5 %)")
        # below the panel: a curve can pass anywhere inside
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8)
    axes[0].set_ylabel("true positive rate")
    return figure


def _dashes(times: int) -> Iterable[str]:
    for dashes in cycle(THRESHOLD_STYLES):
        yield from [dashes] * times


def verdict_figure(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """What feature paths keep, without an attack, when the attacker does not know them, and when he does.

    Parameters
    ----------
    runs
        By name, what ``adaptive/<pooling>.json`` holds. Bars around the dots are 95 % intervals (Wilson).
    """
    stopping_rules = list(
        dict.fromkeys(
            stopping_rule for content in runs.values() for stopping_rule in content["defended"]["oblivious_correct"]
        )
    )
    series = _verdict_series(stopping_rules)
    apart = 0.8 / len(series)
    figure, axis = plt.subplots(figsize=(8.6, 1.9 + (0.25 + 0.115 * len(series)) * len(runs)), layout="constrained")
    for position, (name, color, marker, filled, count) in enumerate(series):
        rows = [(place, content, count(content)) for place, content in enumerate(runs.values())]
        rows = [(place, content, correct) for place, content, correct in rows if correct is not None]
        rates = 100 * np.array([correct / content["n"] for _, content, correct in rows])
        ends = 100 * np.array([wilson(correct, content["n"]) for _, content, correct in rows]).reshape(-1, 2)
        heights = [place - 0.4 + (position + 0.5) * apart for place, _, _ in rows]
        # an interval holds its rate, but for the last bit
        around = np.maximum([rates - ends[:, 0], ends[:, 1] - rates], 0)
        axis.errorbar(
            rates, heights, xerr=around, label=name, color=color, fmt=marker, markersize=7, capsize=3, linewidth=1.2,
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
    _legend_below(figure, axis.get_legend_handles_labels()[0], columns=2)
    return figure


def _verdict_series(stopping_rules: Sequence[str]) -> list[tuple[str, str, str, bool, Any]]:
    """Return the dots of a network from the top: name, colour, marker, whether filled, and how to count."""
    hopes = zip(stopping_rules, cycle([ATTACKED[4], ATTACKED[3], ATTACKED[1]]), cycle("v^<>"), strict=False)
    return [
        ("network alone, no attack", CLEAN, "o", False, lambda content: content["undefended"]["clean_correct"]),
        ("feature paths, no attack", CLEAN, "o", True, lambda content: content["defended"]["clean_correct"]),
        *(
            (f"feature paths, oblivious attack, {stopping_rule}", color, marker, True,
             lambda content, stopping_rule=stopping_rule: content["defended"]["oblivious_correct"].get(stopping_rule))
            for stopping_rule, color, marker in hopes
        ),
        ("feature paths, adaptive attack", ATTACKED[0], "D", True,
         lambda content: content["defended"]["adaptive_correct"]),
        ("network alone, attack aimed at it", ATTACKED[5], "D", False,
         lambda content: content["undefended"]["adaptive_correct"]),
    ]  # fmt: skip


def matrix_figure(detectors: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Balanced accuracy of every detector, calibrated on one attack and tested on another: one panel a detector.

    Parameters
    ----------
    detectors
        By name, the cells: ``calibrated_on``, ``tested_on``, ``n``, ``flagged_clean`` and ``flagged_adversarial``.
        Places that no cell has stay empty.
    """
    columns = min(MOST_COLUMNS, len(detectors))
    rows = -(-len(detectors) // columns)
    cells = [cell for matrix in detectors.values() for cell in matrix]
    from_attacks = list(dict.fromkeys(cell["calibrated_on"] for cell in cells))
    to_attacks = list(dict.fromkeys(cell["tested_on"] for cell in cells))
    longest = 0.07 * max(map(len, [*from_attacks, *to_attacks]))
    wide, high = 0.62 * len(to_attacks) + 0.9, 0.5 * len(from_attacks) + 0.7
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * max(wide, 2.2) + longest + 1.6, rows * high + longest + 1), sharex=True,
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(detectors) :]:
        axis.set_axis_off()
    for axis, (name, matrix) in zip(axes.flat, detectors.items(), strict=False):
        values = np.full((len(from_attacks), len(to_attacks)), np.nan)
        for cell in matrix:
            right = (cell["flagged_adversarial"] + cell["n"] - cell["flagged_clean"]) / (2 * cell["n"])
            values[from_attacks.index(cell["calibrated_on"]), to_attacks.index(cell["tested_on"])] = 100 * right
        # chance is white, worse than chance red: of both, the colour-blind see which
        image = axis.imshow(values, cmap="RdBu", vmin=0, vmax=2 * CHANCE, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                color = "white" if abs(value - CHANCE) > 0.64 * CHANCE else "black"
                axis.text(column, row, f"{value:.0f}", ha="center", va="center", color=color)
        axis.set_title(name)
        axis.set_xticks(range(len(to_attacks)), to_attacks, rotation=90)
        axis.set_yticks(range(len(from_attacks)), from_attacks)
        axis.grid(visible=False)
    for number in range(len(detectors)):
        # sharing leaves the names to the last row, but a panel may have none below it: there they fill the free room
        if number + columns >= len(detectors):
            axes.flat[number].tick_params(axis="x", labelbottom=True)
            for label in axes.flat[number].get_xticklabels():
                label.set_in_layout(number // columns == rows - 1)
    figure.supxlabel("tested on", fontsize=10)
    figure.supylabel("calibrated on", fontsize=10)
    bar = figure.colorbar(image, ax=axes, label="balanced accuracy (%)", shrink=0.9)
    bar.ax.axhline(CHANCE, color="black", linewidth=1)
    return figure


def _legend_below(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    names = [handle.get_label() for handle in handles]
    figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)), handlelength=3)
