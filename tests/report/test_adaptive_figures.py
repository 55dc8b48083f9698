import numpy as np
import pytest

from featurepaths.report.figures import adaptive as figures
from featurepaths.report.figures.style import plt
from featurepaths.statistics.metrics import wilson
from tests.report import contents

NAMES = [f"resnet18-standard-s{seed} (mean)" for seed in range(8)]


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def legend_of(part):
    legend = part.legends[0] if hasattr(part, "legends") else part.get_legend()
    return [text.get_text() for text in legend.get_texts()]


def line(x, y, area=0.5):
    return np.array(x), np.array(y), area


def test_accuracy_curves_lines_are_the_counts():
    figure = figures.accuracy_curves({"one": contents.controls()})
    left, right = figure.axes
    defended, undefended = left.get_lines()
    np.testing.assert_allclose(defended.get_xdata(), [0, 0.15, 1.2])
    np.testing.assert_allclose(defended.get_ydata(), [75, 25, 0])
    np.testing.assert_allclose(undefended.get_ydata(), [93.75, 12.5, 0])
    assert (defended.get_linestyle(), undefended.get_linestyle()) == ("-", "--")
    np.testing.assert_allclose(right.get_lines()[0].get_ydata(), [50, 25, 25])
    assert [label.get_text() for label in right.get_xticklabels()] == ["10×1", "100×1", "20×5\n2 targets"]
    np.testing.assert_allclose(right.get_lines()[0].get_xdata(), [0, 1, 2])
    assert left.get_ylabel() == "accuracy (%) of 128 images"


def test_accuracy_curves_legend_has_every_run_and_both_sides():
    figure = figures.accuracy_curves({name: contents.controls() for name in NAMES})
    assert legend_of(figure) == [*NAMES, "feature paths", "network alone, attack aimed at it"]
    assert len({one.get_color() for one in figure.axes[0].get_lines()}) == 8


def test_detector_rocs_lines_are_the_rates_on_logarithmic_axis():
    oblivious = {"a": line([0, 0.002, 1], [0, 0.5, 1], 0.8), "b": line([0, 0.5, 1], [0.1, 0.6, 1])}
    adaptive = {"b": line([0, 0.4, 1], [0, 0.1, 1], 0.25)}
    figure = figures.detector_rocs(oblivious, adaptive)
    left, right = figure.axes
    for axis, curves in ((left, oblivious), (right, adaptive)):
        assert axis.get_xscale() == "log"
        for drawn, (false_rate, true_rate, _) in zip(axis.get_lines(), curves.values(), strict=False):
            np.testing.assert_array_equal(drawn.get_xdata(), false_rate)
            np.testing.assert_array_equal(drawn.get_ydata(), true_rate)
    assert left.get_xlim() == (0.002, 1)
    assert legend_of(left) == ["a: AUROC 0.800", "b: AUROC 0.500", "chance: AUROC 0.500"]
    assert legend_of(right) == ["b: AUROC 0.250", "chance: AUROC 0.500"]
    assert left.get_title().startswith("oblivious")
    assert right.get_title().startswith("adaptive")


def test_detector_rocs_style_is_unique_and_same_in_both_panels():
    curves = {str(number): line([0, 1], [0, 1]) for number in range(12)}
    left, right = figures.detector_rocs(curves, {"9": curves["9"]}).axes
    styles = [(one.get_color(), one.get_linestyle()) for one in left.get_lines()[:12]]
    assert len(set(styles)) == 12
    assert (right.get_lines()[0].get_color(), right.get_lines()[0].get_linestyle()) == styles[9]


@pytest.mark.parametrize("runs", [1, 8])
def test_verdict_figure_has_every_rate_with_its_interval(runs):
    figure = figures.verdict_figure(
        {name: contents.adaptive(defended=number) for number, name in enumerate(NAMES[:runs])}
    )
    axis = figure.axes[0]
    names = ["network alone, no attack", "feature paths, no attack", "feature paths, oblivious attack, first-success",
             "feature paths, oblivious attack, max-loss", "feature paths, adaptive attack",
             "network alone, attack aimed at it"]  # fmt: skip
    assert legend_of(figure) == names
    dots = dict(zip(names, axis.containers, strict=True))
    np.testing.assert_allclose(dots["feature paths, oblivious attack, max-loss"].lines[0].get_xdata(), [25] * runs)
    adaptive = dots["feature paths, adaptive attack"].lines[0].get_xdata()
    np.testing.assert_allclose(adaptive, [number / 2 for number in range(runs)])
    ends = dots["network alone, attack aimed at it"].lines[2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(ends, 100 * np.array(wilson(2, 200)))
    assert [label.get_text() for label in axis.get_yticklabels()] == NAMES[:runs]
    assert "0.0" in [text.get_text() for text in axis.texts]


def test_verdict_figure_missing_stopping_rule_has_no_dot():
    lacking = contents.adaptive()
    del lacking["defended"]["oblivious_correct"]["max-loss"]
    figure = figures.verdict_figure({"one": contents.adaptive(), "other": lacking})
    dots = [one for one in figure.axes[0].containers if one.get_label().endswith("max-loss")]
    assert len(dots[0].lines[0].get_xdata()) == 1


@pytest.mark.parametrize("runs", [1, 8])
def test_verdict_figure_no_texts_overlap(runs):
    figure = figures.verdict_figure({name: contents.adaptive() for name in NAMES[:runs]})
    figure.canvas.draw()
    axis = figure.axes[0]
    legend = figure.legends[0].get_window_extent()
    names = [label.get_window_extent() for label in axis.get_yticklabels()]
    assert all(box.x0 >= 0 and box.x1 <= axis.get_window_extent().x0 for box in names)
    assert legend.y1 <= axis.xaxis.label.get_window_extent().y0
    values = [text.get_window_extent() for text in axis.texts]
    assert not any(one.overlaps(other) for n, one in enumerate(values) for other in values[:n])


def test_matrix_figure_cells_are_balanced_accuracies_and_gaps_empty():
    matrix = contents.detectors()["detectors"][0]["matrix"]
    figure = figures.matrix_figure({"a": [*matrix, contents.cell("other", "apgd.max-loss", 100, 0)], "b": matrix[:1]})
    first, second = figure.axes[:2]
    np.testing.assert_allclose(first.images[0].get_array().filled(np.nan), [[65, 85], [np.nan, 25]])
    np.testing.assert_allclose(second.images[0].get_array().filled(np.nan), [[65, np.nan], [np.nan, np.nan]])
    assert [text.get_text() for text in first.texts] == ["65", "85", "25"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["apgd\nmax-loss", "other"]
    assert [label.get_text() for label in second.get_xticklabels()] == ["apgd\nfirst-success", "apgd\nmax-loss"]
    assert (first.get_title(), second.get_title()) == ("a", "b")


def test_matrix_figure_panels_without_panel_below_have_attack_names():
    matrix = contents.detectors()["detectors"][0]["matrix"]
    figure = figures.matrix_figure({str(number): matrix for number in range(5)})
    shown = [axis.xaxis.get_tick_params()["labelbottom"] for axis in figure.axes[:5]]
    assert shown == [False, False, True, True, True]


def test_matrix_figure_of_many_attacks_numbers_and_lists_them():
    attacks = [f"attack{number}.max-loss" for number in range(6)]
    cells = [contents.cell(one, other, 40, 100) for one in attacks for other in attacks]
    figure = figures.matrix_figure({"a": cells, "b": cells})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list("123456")
    listed = figure._supxlabel.get_text().replace("\n", " ")
    assert all(f"{number}: {attack}" in listed for number, attack in enumerate(attacks, start=1))


def test_detector_rocs_attack_without_curves_has_no_panel():
    figure = figures.detector_rocs({"a": line([0, 1], [0, 1])}, {})
    assert [axis.get_title().partition(":")[0] for axis in figure.axes] == ["oblivious"]
