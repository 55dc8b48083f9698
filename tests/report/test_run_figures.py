import numpy as np
import pandas as pd
import pytest

from featurepaths.report.figures import networks, run, style


@pytest.fixture(autouse=True)
def close():
    yield
    style.plt.close("all")


@pytest.mark.parametrize("classes", [2, 7, 10, 30])
def test_mean_paths_lines_are_means(classes):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 4)
    clean, attacked = generator.uniform(size=(2, len(labels), 6))
    names = [str(c) for c in range(classes)]
    figure = run.mean_paths({"clean": (clean, labels), "a": (attacked[::2], labels[::2])}, names)
    lines = figure.axes[0].get_lines()
    rows = labels == 0 if classes <= 20 else slice(None)
    np.testing.assert_allclose(lines[0].get_ydata(), clean[rows].mean(axis=0))
    rows = slice(0, 4, 2) if classes <= 20 else slice(None, None, 2)
    np.testing.assert_allclose(lines[1].get_ydata(), attacked[rows].mean(axis=0))


def test_mean_paths_class_without_attacked_images_has_no_line():
    clean = np.ones((6, 3)), np.repeat([0, 1, 2], 2)
    figure = run.mean_paths({"clean": clean, "a": (np.ones((2, 3)), np.array([0, 2]))}, ["x", "y", "z"])
    assert [np.isnan(axis.get_lines()[1].get_ydata()).all() for axis in figure.axes[:3]] == [False, True, False]


def test_score_histograms_have_every_image_and_threshold():
    scores = {"a": (np.linspace(0.5, 1, 50), np.linspace(0, 0.6, 50)), "b": (np.linspace(0.5, 1, 50), np.zeros(50))}
    figure = run.score_histograms(scores, {"a": {"paper, otsu": 0.55}, "b": {"paper, otsu": 0.2, "x": 0.3}})
    first, second = figure.axes
    assert sum(bar.get_height() for bar in first.patches) == 100
    assert [line.get_xdata()[0] for line in second.get_lines()] == [0.2, 0.3]
    assert "paper, otsu: τ = 0.5500" in [text.get_text() for text in first.get_legend().get_texts()]


def test_save_same_figure_has_same_bytes(tmp_path):
    for name in ("one", "two"):
        curves = {"a": (np.array([0, 0.5, 1]), np.array([0, 0.9, 1]), 0.7)}
        assert style.save([(name, "ROC", run.roc_curves(curves))], tmp_path) == [f"{name}.png", f"{name}.svg"]
    for suffix in ("png", "svg"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "one.svg", "two.png", "two.svg"]


def test_roc_curves_more_series_than_colours_are_all_drawn():
    curves = {str(n): (np.array([0, 1]), np.array([0, 1]), 0.5) for n in range(15)}
    assert len(run.roc_curves(curves).axes[0].get_lines()) == 16


@pytest.mark.parametrize("attacks", [1, 3])
@pytest.mark.parametrize("classes", [2, 3, 5, 6, 10])
def test_mean_paths_no_parts_overlap(classes, attacks):
    """The title, the legend, the label of the y-axis and the panels with their labels."""
    values = np.linspace(0.2, 0.9, 60 * 8).reshape(60, 8)
    names = ["clean", *[f"apgd max-loss {number}" for number in range(attacks)]]
    similarity = {name: (values, np.arange(60) % classes) for name in names}
    figure = run.mean_paths(similarity, [f"class {number}" for number in range(classes)])
    style.add_title(figure, "Mean similarity to the true class, resnet18-adversarial-s0, flatten features")
    figure.canvas.draw()
    parts = [figure._suptitle, figure._supylabel, *figure.legends, *figure.axes]
    boxes = [part.get_tightbbox(figure.canvas.get_renderer()) for part in parts]
    boxes = [box.padded(-1) for box in boxes if box is not None and box.width > 0]
    for number, box in enumerate(boxes):
        assert figure.bbox.padded(1).contains(box.x0, box.y0)
        assert figure.bbox.padded(1).contains(box.x1, box.y1)
        assert not box.count_overlaps(boxes[number + 1 :])


def test_layer_accuracies_lines_are_per_cent_and_legend_lists_voting_layers():
    accuracy = {"clean": ([0.5, 0.75, 1.0], 0.875), "max-loss": ([0.25, 0.5, 0.0], 0.125)}
    figure = run.layer_accuracies(accuracy, {"held-out": [1, 3]})
    lines = {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].get_lines()}
    assert lines["clean"] == [50, 75, 100]
    assert lines["max-loss"] == [25, 50, 0]
    assert set(lines["network alone, max-loss"]) == {12.5}
    assert "held-out: 1, 3" in figure.axes[0].get_legend().get_title().get_text()


def test_collapse_by_layer_draws_every_metric_and_the_threshold():
    layers = [{"layer": number, "pfc1": 1 / number, "pfc2": 0.5, "pfc3": number / 4} for number in (1, 2, 3, 4)]
    one, other = (pd.DataFrame(rows).to_records() for rows in (layers, layers[:2]))
    figure = networks.collapse_by_layer({"one": one, "other": other}, 0.99)
    for axis, metric in zip(figure.axes, ("pfc1", "pfc2", "pfc3"), strict=True):
        one, other = axis.get_lines()[:2]
        assert list(one.get_ydata()) == [layer[metric] for layer in layers]
        assert list(other.get_xdata()) == [1, 2]
        assert list(axis.get_xticks()) == [1, 2, 3, 4]
    assert set(figure.axes[2].get_lines()[2].get_ydata()) == {0.99}
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["one", "other"]


def test_training_curves_draw_every_epoch():
    table = {"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.25, 0.5], "learning_rate": [0.1, 0.0]}
    figure = networks.training_curves({"one": pd.DataFrame(table).to_records()})
    loss, accuracy, learning_rate = ([*axis.get_lines()[0].get_ydata()] for axis in figure.axes)
    assert (loss, accuracy, learning_rate) == ([2, 1], [25, 50], [0.1, 0])
