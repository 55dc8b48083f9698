"""Style of all figures: colours, markers, panels, legends, and how figures are written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from featurepaths.store.atomic import atomic

# the colours of Okabe and Ito, which people with colour blindness can distinguish
CLEAN = "#0072B2"
ATTACKED = ["#D55E00", "#CC79A7", "#009E73", "#E69F00", "#56B4E9", "#000000"]
COLOURS = [CLEAN, *ATTACKED, "#882255"]
MARKERS = "osD^vP"
DASHES = ["-", "--", ":", "-."]
CHANCE = {"color": "grey", "linestyle": ":", "linewidth": 1}
"""The line of a detector or classifier that guesses."""
MOST_LAYERS = 12
"""Numbers of layers for which the axis of a panel has room."""
SIMILARITY = "cosine similarity to the centroid"
"""The label of the y-axis of every feature path."""
SIMILARITY_IN_TWO_LINES = SIMILARITY.replace(" to ", "\nto ")
KINDS = {"png": (FigureCanvasAgg, {"Software": None}), "svg": (FigureCanvasSVG, {"Date": None})}
"""The files of every figure: what draws them, and the metadata to omit because they vary."""

plt.style.use(str(Path(__file__).with_name("figures.mplstyle")))


def save(figures: Iterable[tuple[str, str, Figure]], folder: Path) -> list[str]:
    """Write figures, given as name, title and figure, and return the names of all files.

    The same figure gives the same bytes.
    """
    files = []
    for name, title, figure in figures:
        add_title(figure, title)
        for kind, (canvas, metadata) in KINDS.items():
            files.append(f"{name}.{kind}")
            with atomic(folder / files[-1]) as temporary:
                # `savefig` would draw everything once more before it writes
                getattr(canvas(figure), f"print_{kind}")(temporary, metadata=metadata)
            figure.set_layout_engine("none")  # one layout is enough, and takes a quarter of the time
        plt.close(figure)
    return files


def add_title(figure: Figure, title: str) -> None:
    """Put a title above a figure, wrapped if it is longer than the figure is wide."""
    # figures that lay out themselves have room for two lines
    place = {} if figure.get_layout_engine() else {"y": 1 - 0.1 / figure.get_figheight()}
    figure.suptitle(title, x=0.01, ha="left", wrap=True, **place)


def series(values: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the values of each series of a plot by its name, with its line style; the clean images come first."""
    for (name, value), color, marker in zip(values.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        yield value, {"label": name, "color": color, "marker": marker}


def panels(
    count: int, most_columns: int, size: tuple[float, float], margin: tuple[float, float]
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its panels with the same axes [rows, columns], of which the last ones may be empty.

    The figure's width and height are those of its panels, each of a `size`, and of a `margin` around all of them.
    """
    columns = min(most_columns, count)
    rows = -(-count // columns)
    figsize = (columns * size[0] + margin[0], rows * size[1] + margin[1])
    figure, axes = plt.subplots(rows, columns, figsize=figsize, sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, axes


def layer_ticks(count: int) -> range:
    """Return the layers whose numbers an axis shows: all, or evenly spaced ones where they have no room."""
    return range(1, count + 1, -(-count // MOST_LAYERS))


def label_log_axis(axis: Axes) -> None:
    """Make the y-axis of a panel logarithmic, with ticks at round numbers that are written without exponents.

    Called after the lines are drawn. Ticks are the coarsest of some series of which at least three lie on the axis.
    """
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ([1], [1, 3], [1, 2, 5], [1, 2, 3, 4, 6, 8], np.arange(10, 100, 2) / 10, np.arange(100, 1000) / 100):
        ticks = np.unique(np.multiply.outer(decades, steps))
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= 3:
            break
    axis.set_yticks(ticks, [np.format_float_positional(tick, precision=6, trim="-") for tick in ticks])
    axis.minorticks_off()


def class_titles(names: Sequence[str]) -> list[str]:
    """Return the names of classes, as titles of panels and axes; "class 3" for a class that is only a number."""
    return [f"class {name}" if name.isdecimal() else name for name in names]


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def legend_below(figure: Figure, source: Axes | Sequence[Any], columns: int, **options: Any) -> None:
    """Put a legend of an axis or of handles below all panels."""
    handles = source.get_legend_handles_labels()[0] if isinstance(source, Axes) else source
    names = [handle.get_label() for handle in handles]
    figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)), **options)
