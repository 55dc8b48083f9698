import numpy as np
import pytest

from featurepaths.report import figures


@pytest.mark.parametrize("classes", [2, 7, 10, 30])
def test_mean_paths_show_the_means(classes):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 4)
    clean, attacked = generator.uniform(size=(2, len(labels), 6))
    names = [str(c) for c in range(classes)]
    figure = figures.mean_paths({"clean": (clean, labels), "a": (attacked[::2], labels[::2])}, names)
    lines = figure.axes[0].get_lines()
    rows = labels == 0 if classes <= 20 else slice(None)
    np.testing.assert_allclose(lines[0].get_ydata(), clean[rows].mean(axis=0))
    rows = slice(0, 4, 2) if classes <= 20 else slice(None, None, 2)
    np.testing.assert_allclose(lines[1].get_ydata(), attacked[rows].mean(axis=0))


def test_a_class_without_attacked_images_has_no_attacked_path():
    clean = np.ones((6, 3)), np.repeat([0, 1, 2], 2)
    figure = figures.mean_paths({"clean": clean, "a": (np.ones((2, 3)), np.array([0, 2]))}, ["x", "y", "z"])
    assert [np.isnan(axis.get_lines()[1].get_ydata()).all() for axis in figure.axes[:3]] == [False, True, False]


def test_histograms_count_every_image_and_mark_every_threshold():
    scores = {"a": (np.linspace(0.5, 1, 50), np.linspace(0, 0.6, 50)), "b": (np.linspace(0.5, 1, 50), np.zeros(50))}
    figure = figures.score_histograms(scores, {"a": {"paper, otsu": 0.55}, "b": {"paper, otsu": 0.2, "x": 0.3}})
    first, second = figure.axes
    assert sum(bar.get_height() for bar in first.patches) == 100
    assert [line.get_xdata()[0] for line in second.get_lines()] == [0.2, 0.3]
    assert "paper, otsu: τ = 0.5500" in [text.get_text() for text in first.get_legend().get_texts()]


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("one", "two"):
        curves = {"a": (np.array([0, 0.5, 1]), np.array([0, 0.9, 1]), 0.7)}
        figures.save(figures.roc_curves(curves), "ROC", tmp_path / name)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg", "two.png", "two.svg"]


def test_more_series_than_colours():
    curves = {str(n): (np.array([0, 1]), np.array([0, 1]), 0.5) for n in range(15)}
    assert len(figures.roc_curves(curves).axes[0].get_lines()) == 16


@pytest.mark.parametrize("attacks", [1, 3])
@pytest.mark.parametrize("classes", [2, 3, 5, 6, 10])
def test_nothing_lies_over_anything_else(classes, attacks):
    """Title, legend, label of the y-axis and panels with their labels, as they are drawn."""
    values = np.linspace(0.2, 0.9, 60 * 8).reshape(60, 8)
    names = ["clean", *[f"apgd max-loss {number}" for number in range(attacks)]]
    similarity = {name: (values, np.arange(60) % classes) for name in names}
    figure = figures.mean_paths(similarity, [f"class {number}" for number in range(classes)])
    figures.add_title(figure, "Mean similarity to the true class, resnet18-adversarial-s0, flatten features")
    figure.canvas.draw()
    parts = [figure._suptitle, figure._supylabel, *figure.legends, *figure.axes]
    boxes = [part.get_tightbbox(figure.canvas.get_renderer()) for part in parts]
    boxes = [box.padded(-1) for box in boxes if box is not None and box.width > 0]
    for number, box in enumerate(boxes):
        assert figure.bbox.padded(1).contains(box.x0, box.y0)
        assert figure.bbox.padded(1).contains(box.x1, box.y1)
        assert not box.count_overlaps(boxes[number + 1 :])
