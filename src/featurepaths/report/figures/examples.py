"""Figure of attacked test images: the pictures, the defence's decision and the paths of the first of each outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from featurepaths.report.figures import style
from featurepaths.report.figures.run import BAND, Similarities, clean_band
from featurepaths.report.figures.style import plt
from featurepaths.statistics.attacked_images import HARMLESS, LOST, MISSED, OUTCOMES, RECOGNISED, AttackedImages

PER_OUTCOME = 2
"""The first so many test images of each outcome are shown."""
MEANINGS = {
    MISSED: "missed: not flagged; the network's class is the answer, and wrong",
    LOST: "flagged and lost: the vote is the answer, and wrong",
    RECOGNISED: "flagged and recognised: the vote is the answer, and correct",
    HARMLESS: "not flagged; the network's class is the answer, and correct",
}
WRONG, CORRECT = style.ATTACKED[0], style.ATTACKED[2]
COLOURS = {MISSED: WRONG, LOST: WRONG, RECOGNISED: CORRECT, HARMLESS: CORRECT}
OWN, PREDICTED = {"color": style.CLEAN, "marker": "o"}, {"color": style.ATTACKED[0], "marker": "s"}
"""How paths to the true class and to the one that the network predicts are drawn."""
OPACITY = 0.2
"""Of the bands."""
LONGEST_NAME = 16
# in inches
SIDE, GAP, PATH, TEXT, HEADING, MARGIN, BELOW = 0.95, 0.07, 1.75, 0.36, 0.34, 0.15, 0.22
PICTURES, AXIS = 3 * (SIDE + GAP), 0.58
EXAMPLE, ROW = PICTURES + AXIS + PATH + 0.08, TEXT + SIDE + BELOW
TITLE, SPACE, LEGEND, LINE = 0.6, 0.42, 0.6, 0.2


class Example(NamedTuple):
    """An attacked image, and the similarity of its adversarial example to every class in every layer.

    `clean` is uint8 [H, W, C], `adversarial` [C, H, W] in [0, 1], `similarity` [L, classes].
    """

    clean: np.ndarray
    adversarial: np.ndarray
    similarity: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """The adversarial image minus the clean one, in pixel values of [0, 1]: [H, W, C]."""
        return self.adversarial.transpose(1, 2, 0).astype(float) - self.clean / 255


Shown = tuple[AttackedImages, Mapping[int, Example]]
"""The images under an attack, and by row the examples among them that `chosen_rows` returns."""


def chosen_rows(images: AttackedImages) -> np.ndarray:
    """Return the rows of the examples that a figure shows: the first `PER_OUTCOME` of each outcome, in test order."""
    return np.sort(np.concatenate([images.rows(outcome)[:PER_OUTCOME] for outcome in OUTCOMES]))


def magnification(examples: Sequence[Example]) -> float:
    """Return the factor, rounded down to two digits, that makes the greatest difference half of the range of pixels."""
    greatest = max((np.abs(example.difference).max() for example in examples), default=0.0)
    factor = 0.5 / max(greatest, 1 / 512)
    unit = 10 ** (np.floor(np.log10(factor)) - 1)
    return float(np.floor(factor / unit + 1e-9) * unit)


def examples_figure(shown: Sequence[Shown], clean: Similarities, class_names: Sequence[str]) -> Figure:
    """Attacked test images by outcome: clean, adversarial and difference, the decision, and the path.

    Parameters
    ----------
    shown
        Of every attack.
    clean
        The clean test images, for the bands of their similarity to their true class.
    class_names
        The names of all classes [C].
    """
    examples = [example for _, of_attack in shown for example in of_attack.values()]
    heights = [_height(images) for images, _ in shown]
    notes = _notes(magnification(examples), [images for images, _ in shown])
    width, height = PER_OUTCOME * EXAMPLE + 2 * MARGIN, TITLE + sum(heights) + LEGEND + LINE * len(notes)
    figure, canvas = plt.subplots(figsize=(width, height), layout="none")
    canvas.set_position((0, 0, 1, 1))
    canvas.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    canvas.set_axis_off()
    figure.suppressComposite = True  # pictures are small: an SVG with one large image takes longer
    sheet = _Sheet(canvas, clean, class_names, magnification(examples), _limits(shown, clean))
    top = TITLE
    for (images, of_attack), block in zip(shown, heights, strict=True):
        sheet.draw_attack(top, images, of_attack)
        top += block
    sheet.draw_legend(height, notes)
    return figure


def _notes(factor: float, attacks: Sequence[AttackedImages]) -> list[str]:
    """Return the lines that explain pictures and decisions."""
    half, voters = 0.5 / factor, attacks[0].votes_of
    notes = [
        f"The first {PER_OUTCOME} test images of each outcome, in test order. Counts are of all attacked test images, "
        "with those that the network misclassifies without an attack.",
        "Score: the cosine similarity to the centroid of a class, averaged over the layers before collapse, of the "
        "class where it is greatest. An image is flagged as adversarial if its score is below the threshold.",
        "A flagged image is not rejected: the vote answers in place of the network. "
        f"{voters[0].upper()}{voters[1:]}: each votes for the class of its nearest centroid.",
        f"Difference in each colour channel: grey is none, black −{half:.2g}, white +{half:.2g} (pixels are in "
        "[0, 1]).",
    ]
    if len({len(images.labels) for images in attacks}) > 1:
        notes.append("Adaptive attacks take longer, so they run on fewer images, evenly spaced: adaptive.max_images.")
    return notes


def _height(images: AttackedImages) -> float:
    """Return the height of the pictures of an attack, in inches."""
    return SPACE + sum(HEADING + ROW * (len(images.rows(outcome)) > 0) for outcome in OUTCOMES)


def _limits(shown: Sequence[Shown], clean: Similarities) -> tuple[float, float]:
    """Return the ends of the axis of similarity in all panels."""
    parts = [
        part.min()
        for images, examples in shown
        for row, example in examples.items()
        for path, band, _ in _lines(images, row, example, clean)
        for part in (path, band)
        if part is not None
    ]
    return min(parts, default=0) - 0.03, 1.03


def _lines(images: AttackedImages, row: int, example: Example, clean: Similarities) -> list[tuple]:
    """Return an example's path [L] to its true class and, if it is another, to the predicted class.

    Each with the band of clean images of that class [2, L], None if there are none, and its looks.
    """
    lines = []
    for label, looks in ((images.labels[row], OWN), (images.predictions[row], PREDICTED)):
        own = clean.own[clean.labels == label]
        lines.append((example.similarity[:, label], clean_band(own) if len(own) else None, looks))
    return lines if images.labels[row] != images.predictions[row] else lines[:1]


@dataclass(frozen=True)
class _Sheet:
    """The axes of the whole figure, in inches from the top left, and what all parts of it share."""

    canvas: Axes
    clean: Similarities
    class_names: Sequence[str]
    factor: float
    limits: tuple[float, float]

    def draw_attack(self, top: float, images: AttackedImages, examples: Mapping[int, Example]) -> None:
        """Draw the examples of an attack, by outcome."""
        self.canvas.text(MARGIN, top + 0.25, images.title, fontsize=11, fontweight="bold")
        top += SPACE
        for outcome in OUTCOMES:
            rows = images.rows(outcome)
            text = f"{MEANINGS[outcome]}: {f'{len(rows):,}' if len(rows) else 'none'} of {len(images.labels):,} images"
            if wrong := np.count_nonzero(~images.clean_correct[rows]):
                text += f" ({wrong:,} of them misclassified by the network without an attack)"
            self.canvas.axhspan(top + 0.05, top + HEADING - 0.03, color=COLOURS[outcome], alpha=0.15, linewidth=0)
            self.canvas.text(MARGIN, top + 0.22, text, fontsize=9.5)
            top += HEADING
            for place, row in enumerate(rows[:PER_OUTCOME]):
                left = MARGIN + place * EXAMPLE
                self.draw_decision(left, top, images, row)
                self.draw_pictures(left, top + TEXT, examples[row])
                self.draw_paths(left + PICTURES + AXIS, top + TEXT, _lines(images, row, examples[row], self.clean))
            top += ROW * (len(rows) > 0)

    def draw_decision(self, left: float, top: float, images: AttackedImages, row: int) -> None:
        """Write the classes, the score and the decision of an example."""
        labels = (images.labels[row], images.predictions[row], images.votes[row])
        true, predicted, voted = (style.shortened(self.class_names[label], LONGEST_NAME) for label in labels)
        score, threshold = images.scores[row], images.threshold
        compared = f"{score:.4f} < {threshold:.4f}: flagged" if images.flagged[row] else (
            f"{score:.4f} ≥ {threshold:.4f}: not flagged")  # fmt: skip
        self.canvas.text(left, top + 0.13, f"true: {true}, network: {predicted}, vote: {voted}", fontsize=8)
        without = "" if images.clean_correct[row] else ", misclassified without an attack"
        self.canvas.text(left, top + 0.28, f"image {images.index[row]}{without}, score {compared}", fontsize=8)

    def draw_pictures(self, left: float, top: float, example: Example) -> None:
        """Draw an example: clean, adversarial, and the difference."""
        pictures = {
            "clean": example.clean / 255,
            "adversarial": example.adversarial.transpose(1, 2, 0),
            f"difference ×{self.factor:g}": 0.5 + self.factor * example.difference,
        }
        for name, picture in pictures.items():
            longest = max(picture.shape[:2])
            height, width = (SIDE * length / longest for length in picture.shape[:2])
            x, y = left + (SIDE - width) / 2, top + (SIDE - height) / 2
            colours = np.broadcast_to(np.clip(picture, 0, 1), (*picture.shape[:2], 3))  # a grey one has one channel
            self.canvas.imshow(colours, extent=(x, x + width, y + height, y), aspect="auto")
            self.canvas.text(left + SIDE / 2, top + SIDE + 0.13, name, fontsize=7, color="#444444", ha="center")
            left += SIDE + GAP

    def draw_paths(self, left: float, top: float, lines: Sequence[tuple]) -> None:
        """Draw paths and bands, of `_lines`, in a panel. Axes drawn by hand take a third of the time."""
        low, high = self.limits
        layers = len(lines[0][0])
        x = left + PATH * np.linspace(0.04, 0.96, layers) if layers > 1 else np.array([left + PATH / 2])

        def y(similarity: np.ndarray | float) -> np.ndarray | float:
            return top + SIDE * (high - similarity) / (high - low)

        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
        grid = [[(left, y(tick)), (left + PATH, y(tick))] for tick in ticks]
        frame = [[(left, top), (left, top + SIDE), (left + PATH, top + SIDE)]]
        colours = ["#cccccc"] * len(grid) + ["black"]
        self.canvas.add_collection(LineCollection([*grid, *frame], colors=colours, linewidths=0.6, zorder=1))
        for path, band, looks in lines:
            if band is not None:
                self.canvas.fill_between(x, *y(band), color=looks["color"], alpha=OPACITY, linewidth=0)
            self.canvas.plot(x, y(path), **looks, markersize=3, linewidth=1.2)
        small = {"fontsize": 7, "color": "#444444"}
        for tick in ticks:
            self.canvas.text(left - 0.05, y(tick), f"{tick:g}", ha="right", va="center", **small)
        for layer in style.layer_ticks(layers):
            self.canvas.text(x[layer - 1], top + SIDE + 0.13, f"{layer}", ha="center", **small)
        self.canvas.text(left - 0.05, top + SIDE + 0.13, "layer", ha="right", **small)
        at = {"rotation": 90, "ha": "center", "va": "center", "linespacing": 1}
        self.canvas.text(left - 0.41, top + SIDE / 2, style.SIMILARITY_IN_TWO_LINES, **small | {"fontsize": 6.5}, **at)

    def draw_legend(self, height: float, notes: Sequence[str]) -> None:
        """Draw what explains pictures and paths, at the bottom."""
        for place, line in enumerate(reversed(notes)):
            self.canvas.text(MARGIN, height - LEGEND + 0.12 - LINE * place, line, fontsize=7.8)
        kinds = {"path to its true class": OWN, "path to the class that the network predicts": PREDICTED}
        handles = [Line2D([], [], **looks, markersize=4) for looks in kinds.values()]
        blue, orange = (np.array(to_rgb(looks["color"])) for looks in kinds.values())
        light = [OPACITY * color + 1 - OPACITY for color in (blue, orange)]
        colours = [*light, OPACITY * orange + (1 - OPACITY) * light[0]]
        patches = tuple(Patch(color=color, linewidth=0) for color in colours)
        band = f"bands: {BAND[0]} to {BAND[1]} % of the clean images of each of these classes; grey: both bands"
        self.canvas.figure.legend(
            [*handles, patches], [*kinds, band], ncols=3, fontsize=8.5, handlelength=2.4, borderaxespad=0.4,
            handler_map={tuple: HandlerTuple(ndivide=None, pad=0)}, loc="lower left",
            bbox_to_anchor=(0, 0.05 / height),
        )  # fmt: skip
