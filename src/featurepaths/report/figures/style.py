"""Style of all figures: colours, markers, panels, legends, and how figures are written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
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
SHARED_AXES = {"sharex": True, "sharey": True, "squeeze": False}
"""Options of a grid of panels with the same axes."""
KINDS = {"png": {"Software": None}, "svg": {"Date": None}}
"""The files of every figure, and the metadata to omit because they vary."""

plt.style.use(str(Path(__file__).with_name("figures.mplstyle")))


def save(figures: Iterable[tuple[str, str, Figure]], folder: Path) -> list[str]:
    """Write figures, given as name, title and figure, and return the names of all files.

    The same figure gives the same bytes.
    """
    files = []
    for name, title, figure in figures:
        add_title(figure, title)
        for kind, metadata in KINDS.items():
            files.append(f"{name}.{kind}")
            with atomic(folder / files[-1]) as temporary:
                figure.savefig(temporary, metadata=metadata)
            figure.set_layout_engine("none")  # one layout is enough, and takes a quarter of the time
        plt.close(figure)
    return files


def add_title(figure: Figure, title: str) -> None:
    """Put a title above a figure, wrapped if it is longer than the figure is wide."""
    figure.suptitle(title, x=0.01, ha="left", wrap=True)


def series(values: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the values of each series of a plot by its name, with its line style; the clean images come first."""
    for (name, value), color, marker in zip(values.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        yield value, {"label": name, "color": color, "marker": marker}


def panel_grid(count: int, most_columns: int) -> tuple[int, int]:
    """Return the rows and columns of a grid of `count` panels."""
    columns = min(most_columns, count)
    return -(-count // columns), columns


def legend_below(figure: Figure, source: Axes | Sequence[Any], columns: int, **options: Any) -> None:
    """Put a legend of an axis or of handles below all panels."""
    handles = source.get_legend_handles_labels()[0] if isinstance(source, Axes) else source
    names = [handle.get_label() for handle in handles]
    figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)), **options)
