import numpy as np
import pandas as pd
import pytest

from featurepaths.report.figures import networks, run, style


@pytest.fixture(autouse=True)
def close():
    yield
    style.plt.close("all")


def similarities(own, labels, predicted=None, predictions=None):
    predictions = labels if predictions is None else predictions
    return run.Similarities(own, labels, own if predicted is None else predicted, predictions)


@pytest.mark.parametrize("classes", [2, 7, 10, 30])
def test_mean_paths_lines_are_means_and_band_is_percentiles(classes):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 4)
    clean, own, predicted = generator.uniform(size=(3, len(labels), 6))
    predictions = (labels + np.arange(len(labels)) % 2) % classes  # every other image is taken for the next class
    attacked = similarities(own, labels, predicted, predictions)
    names = [str(c) for c in range(classes)]
    figure = run.mean_paths({"clean": similarities(clean, labels), "a": attacked}, names)
    axis, every = figure.axes[0], classes > 20
    shown = [n for n in range(len(labels)) if every or labels[n] == 0]
    selected = [n for n in range(len(labels)) if predictions[n] != labels[n] and (every or predictions[n] == 0)]
    for line, values in zip(axis.get_lines(), (clean[shown], own[shown], predicted[selected]), strict=True):
        np.testing.assert_allclose(line.get_ydata(), sum(values) / len(values))
    corners = {tuple(corner) for corner in np.round(axis.collections[0].get_paths()[0].vertices, 9)}
    for percentile in (5, 95):
        ends = np.percentile(clean[shown], percentile, axis=0)
        assert {(layer, round(end, 9)) for layer, end in enumerate(ends, start=1)} <= corners
    assert axis.get_title() == ("all classes" if every else "class 0")
    assert figure._supylabel.get_text().replace("\n", " ") == style.SIMILARITY
    assert figure.axes[-1].get_xlabel() == ("layer" if classes != 7 else "")  # the last three of ten panels are empty


def test_mean_paths_class_without_images_has_no_line():
    clean = similarities(np.ones((6, 3)), np.repeat([0, 1, 2], 2))
    attacked = similarities(np.ones((2, 3)), np.array([0, 2]), predictions=np.array([0, 0]))
    figure = run.mean_paths({"clean": clean, "a": attacked}, ["x", "y", "z"])
    missing = [[np.isnan(line.get_ydata()).all() for line in axis.get_lines()] for axis in figure.axes[:3]]
    assert missing == [[False, False, False], [False, True, True], [False, False, True]]


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
    similarity = {name: similarities(values, np.arange(60) % classes) for name in names}
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
    assert set(lines["network alone, clean"]) == {87.5}
    assert "held-out: 1, 3" in figure.axes[0].get_legend().get_title().get_text()


def test_layer_accuracies_equal_networks_are_drawn_once():
    accuracy = {"clean": ([1.0], 1.0), "first-success": ([0.5], 0.0), "max-loss": ([0.25], 0.0)}
    lines = run.layer_accuracies(accuracy, {}).axes[0].get_lines()
    flat = {line.get_label(): set(line.get_ydata()) for line in lines[3:]}
    assert flat == {"network alone, clean": {100}, "network alone, first-success and max-loss": {0}}


@pytest.mark.parametrize(("low", "high"), [(0.61, 0.79), (0.09, 0.75), (0.3, 2.2), (1e-5, 3), (0.9, 40000)])
def test_label_log_axis_has_ticks_without_exponents(low, high):
    _, axis = style.plt.subplots()
    axis.plot([1, 2], [low, high])
    style.label_log_axis(axis)
    axis.figure.canvas.draw()
    labels = [label.get_text() for label in axis.get_yticklabels(which="both")]
    assert 3 <= len(labels) <= 12
    assert [float(label) for label in labels] == pytest.approx(list(axis.get_yticks()))
    assert not any(letter in label for label in labels for letter in "e×$")


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


def test_training_curves_draw_every_epoch_and_calibration_images():
    table = {"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.25, 0.5], "learning_rate": [0.1, 0.0]}
    calibrated = table | {"calibration_accuracy": [0.2, 0.4]}
    figure = networks.training_curves({name: pd.DataFrame(of).to_records() for name, of in
                                       (("one", table), ("other", calibrated))})  # fmt: skip
    loss, accuracy, rates = ([[*line.get_ydata()] for line in axis.get_lines()] for axis in figure.axes)
    assert loss == [[2, 1], [2, 1]]
    assert accuracy == [[25, 50], [25, 50], [20, 40]]
    assert rates == [[0.1, 0]], "equal curves are drawn once"
    assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == ["one\nother"]
    explained = [text.get_text() for text in figure.legends[0].get_texts()]
    assert explained[:2] == ["one", "other"]
    assert any("calibration" in text for text in explained)


def test_training_curves_without_calibration_images_do_not_name_them():
    table = {"epoch": [1, 2], "loss": [2.0, 1.0], "accuracy": [0.25, 0.5], "learning_rate": [0.1, 0.0]}
    figure = networks.training_curves({"one": pd.DataFrame(table).to_records()})
    assert not any("calibration" in text.get_text() for text in figure.legends[0].get_texts())


@pytest.mark.parametrize(
    ("count", "ticks"), [(1, [1]), (9, [*range(1, 10)]), (16, [*range(1, 17, 2)]), (50, [*range(1, 51, 5)])]
)
def test_layer_ticks_are_all_layers_or_evenly_spaced_ones(count, ticks):
    assert list(style.layer_ticks(count)) == ticks
