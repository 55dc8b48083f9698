import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from featurepaths.report.figures import confusion, examples, style
from featurepaths.report.figures.run import Similarities
from featurepaths.stages import attacked_images
from featurepaths.statistics.attacked_images import OUTCOMES, AttackedImages
from featurepaths.store.hdf5 import create_hdf5
from featurepaths.store.origin import Origin

LAYERS, N = 5, 40


@pytest.fixture(autouse=True)
def close():
    yield
    style.plt.close("all")


def attacked(classes=4, count=N, seed=0, title="Oblivious attack"):
    generator = np.random.default_rng(seed)
    labels, predictions, votes = generator.integers(0, classes, (3, count))
    predictions = np.where(generator.random(count) < 0.4, labels, predictions)
    scores = generator.random(count)
    index = np.sort(generator.choice(1000, count, replace=False))
    clean_correct = generator.random(count) < 0.8
    return AttackedImages(title, "vote of layers 1, 2", 0.5, index, labels, predictions, votes, scores, clean_correct)


def clean_paths(classes=4, count=60, seed=1):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    own = generator.uniform(0.5, 1, (count, LAYERS))
    return Similarities(own, labels, own, labels)


def shown(images, shape=(3, 6, 6), classes=4, eps=0.1):
    """By row, examples of the images that a figure shows."""
    generator = np.random.default_rng(2)
    pictures = {}
    for row in examples.chosen_rows(images):
        clean = generator.integers(60, 190, (*shape[1:], shape[0])).astype(np.uint8)
        adversarial = (clean / 255 + generator.uniform(-eps, eps, clean.shape)).transpose(2, 0, 1).astype(np.float32)
        pictures[int(row)] = examples.Example(clean, adversarial, generator.uniform(0.3, 1, (LAYERS, classes)))
    return pictures


def outcome_by_hand(images, row):
    flagged = images.scores[row] < images.threshold
    answer = images.votes[row] if flagged else images.predictions[row]
    if answer == images.labels[row]:
        return "flagged and recognised" if flagged else "not flagged, network correct"
    return "flagged and lost" if flagged else "missed"


def test_chosen_rows_are_first_of_each_outcome_in_test_order():
    images = attacked()
    by_hand = {outcome: [] for outcome in OUTCOMES}
    for row in range(N):
        by_hand[outcome_by_hand(images, row)].append(row)
    assert {outcome: images.rows(outcome).tolist() for outcome in OUTCOMES} == by_hand
    assert min(map(len, by_hand.values())) > examples.PER_OUTCOME
    firsts = sorted(row for rows in by_hand.values() for row in rows[: examples.PER_OUTCOME])
    assert examples.chosen_rows(images).tolist() == firsts


def texts_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_examples_figure_states_class_vote_score_and_counts_of_outcomes():
    images, names = attacked(), ["cat", "dog", "a very long name of a class", "7"]
    figure = examples.examples_figure([(images, shown(images))], clean_paths(), names)
    texts = texts_of(figure)
    for row in examples.chosen_rows(images):
        short = [name if len(name) <= 16 else "a very long nam…" for name in names]
        true, network, vote = (short[values[row]] for values in (images.labels, images.predictions, images.votes))
        place = texts.index(f"true: {true}, network: {network}, vote: {vote}")
        assert place >= 0
        compared = "<" if images.scores[row] < 0.5 else "≥"
        decision = "flagged" if images.scores[row] < 0.5 else "not flagged"
        without = "" if images.clean_correct[row] else ", misclassified without an attack"
        assert (
            f"image {images.index[row]}{without}, score {images.scores[row]:.4f} {compared} 0.5000: {decision}" in texts
        )
    for outcome in OUTCOMES:
        rows = [row for row in range(N) if outcome_by_hand(images, row) == outcome]
        wrong = sum(not images.clean_correct[row] for row in rows)
        split = f" ({wrong} of them misclassified by the network without an attack)" if wrong else ""
        assert f"{examples.MEANINGS[outcome]}: {len(rows)} of {N} images{split}" in texts


def test_examples_figure_explains_decisions_axes_bands_and_counts():
    attacks = [attacked(), attacked(seed=5, count=30)]
    one, both = (
        examples.examples_figure([(each, shown(each)) for each in attacks[:number]], clean_paths(), list("abcd"))
        for number in (1, 2)
    )
    notes = " ".join(texts_of(one))
    assert all(part in notes for part in ("Score: ", "Vote of layers 1, 2: ", "is not rejected", "Counts are of all"))
    assert "max_images" not in notes
    assert "adaptive.max_images" in " ".join(texts_of(both))
    panels = len(examples.chosen_rows(attacks[0]))
    assert texts_of(one).count("layer") == panels
    assert texts_of(one).count(style.SIMILARITY.replace(" to ", "\nto ")) == panels
    assert texts_of(one).count(str(LAYERS)) == panels
    assert one.legends[0].get_texts()[-1].get_text().startswith("bands: 5 to 95 %")


def test_examples_figure_outcome_without_images_is_said_and_has_no_panel():
    images = attacked()
    missed = AttackedImages(images.title, images.votes_of, 0.0, *list(vars(images).values())[3:])
    figure = examples.examples_figure([(missed, shown(missed))], clean_paths(), list("abcd"))
    texts = texts_of(figure)
    assert f"{examples.MEANINGS['flagged and lost']}: none of {N} images" in texts
    assert len(figure.axes[0].images) == 3 * len(examples.chosen_rows(missed)) == 3 * 2 * examples.PER_OUTCOME


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 64, 48), (3, 30, 50), (3, 224, 224)])
def test_examples_figure_pictures_are_those_of_the_images(shape):
    images = attacked()
    pictures = shown(images, shape)
    figure = examples.examples_figure([(images, pictures)], clean_paths(), list("abcd"))
    factor = examples.magnification(list(pictures.values()))
    order = [row for outcome in OUTCOMES for row in images.rows(outcome)[: examples.PER_OUTCOME]]
    drawn = figure.axes[0].images
    assert len(drawn) == 3 * len(order)
    for row, *three in zip(order, drawn[::3], drawn[1::3], drawn[2::3], strict=True):
        clean, adversarial = pictures[row].clean / 255, np.moveaxis(pictures[row].adversarial, 0, 2)
        expected = clean, adversarial, 0.5 + factor * (adversarial.astype(float) - clean)
        for picture, pixels in zip(three, expected, strict=True):
            np.testing.assert_allclose(picture.get_array(), np.repeat(pixels, 3 // shape[0], axis=2), atol=1e-6)
            left, right, bottom, top = picture.get_extent()
            assert (right - left) / (bottom - top) == pytest.approx(shape[2] / shape[1])
            assert max(right - left, bottom - top) == pytest.approx(examples.SIDE)


@pytest.mark.parametrize(("eps", "factor"), [(8 / 255, 15), (0.15, 3.3), (1, 0.5)])
def test_magnification_makes_greatest_difference_visible(eps, factor):
    adversarial = np.zeros((1, 2, 2))
    adversarial[0, 1, 0] = eps
    example = examples.Example(np.zeros((2, 2, 1), np.uint8), adversarial, np.ones((1, 1)))
    assert examples.magnification([example]) == pytest.approx(factor)
    unchanged = examples.Example(np.zeros((2, 2, 1), np.uint8), np.zeros((1, 2, 2)), np.ones((1, 1)))
    assert np.isfinite(examples.magnification([unchanged]))


def test_examples_figure_paths_and_bands_are_those_of_both_classes():
    images, clean = attacked(), clean_paths()
    pictures = shown(images)
    figure = examples.examples_figure([(images, pictures)], clean, list("abcd"))
    canvas = figure.axes[0]
    parts = [
        part for row in pictures for lines in examples._lines(images, row, pictures[row], clean) for part in lines[:2]
    ]
    span = 1.03 - (min(part.min() for part in parts) - 0.03)
    lines = iter(canvas.get_lines())
    bands = iter(part for part in canvas.collections if isinstance(part, PolyCollection))
    for outcome in OUTCOMES:
        for row in images.rows(outcome)[: examples.PER_OUTCOME]:
            for label in dict.fromkeys((images.labels[row], images.predictions[row])):
                y = next(lines).get_ydata()
                path = pictures[row].similarity[:, label]
                np.testing.assert_allclose(y - y[0], -examples.SIDE * (path - path[0]) / span, atol=1e-9)
                own = np.array([clean.own[n] for n in range(len(clean.labels)) if clean.labels[n] == label])
                ends = np.percentile(own, 5, axis=0), np.percentile(own, 95, axis=0)
                corners = next(bands).get_paths()[0].vertices[:, 1]
                offset = y[0] + examples.SIDE * path[0] / span
                expected = {round(offset - examples.SIDE * end / span, 6) for each in ends for end in each}
                assert expected <= set(np.round(corners, 6))
    assert next(lines, None) is None
    assert next(bands, None) is None


def test_examples_figure_no_texts_overlap():
    attacks = [attacked(), attacked(seed=5, title="Worst case")]
    names = ["automobile", "a very long name of a class", "ship", "tractor with plough"]
    figure = examples.examples_figure([(each, shown(each)) for each in attacks], clean_paths(), names)
    style.add_title(
        figure, "Attacked test images: resnet18, adversarial training, seed 0\nflatten features, attack apgd"
    )
    figure.canvas.draw()
    parts = [figure._suptitle, *figure.axes[0].texts, *figure.legends]
    boxes = [part.get_window_extent(figure.canvas.get_renderer()).padded(-2) for part in parts]
    for number, box in enumerate(boxes):
        assert figure.bbox.contains(box.x0, box.y0)
        assert figure.bbox.contains(box.x1, box.y1)
        assert not box.count_overlaps(boxes[number + 1 :]), parts[number]


@pytest.mark.parametrize(
    ("oblivious", "title"), [(2, "Adaptive worst case ("), (5, "worst case, on 2 of these images (")]
)
def test_adaptive_title_states_fewer_images_than_those_of_the_oblivious_attack(tmp_path, oblivious, title):
    with create_hdf5(tmp_path / "data.h5", Origin("data", "0" * 20)) as file:
        file["images"] = np.zeros((9, 2, 2, 1), np.uint8)
    worst = {"network_prediction": [0, 1], "vote": [1, 1], "score": [0.1, 0.9], "adversarial": np.zeros((2, 1, 2, 2)),
             "similarity": np.ones((2, LAYERS, 2))}  # fmt: skip
    with create_hdf5(tmp_path / "flatten.h5", Origin("adaptive", "0" * 20)) as file:
        for name, values in {"index": [3, 8], "labels": [0, 1], "undefended/clean": [True, False]}.items():
            file[name] = np.array(values)
        for name, values in worst.items():
            file[f"worst/{name}"] = np.array(values)
    images, examples = attacked_images.adaptive(0.5, "vote", tmp_path / "data.h5", tmp_path / "flatten.h5", oblivious)
    assert title in images.title
    assert images.clean_correct.tolist() == [True, False]
    assert sorted(examples) == [0, 1]


def matrix_by_hand(labels, predictions, classes):
    matrix = np.zeros((classes, classes), int)
    for label, prediction in zip(labels, predictions, strict=True):
        matrix[label, prediction] += 1
    return matrix


def numbers_in(axis, size):
    matrix = np.zeros((size, size), int)
    for text in axis.texts:
        column, row = text.get_position()
        matrix[row, column] = int(text.get_text())
    return matrix


def test_confusion_figure_cells_are_counts_of_network_and_of_votes():
    attacks = [attacked(), attacked(seed=3)]
    figure = confusion.confusion_figure(attacks, list("abcd"))
    for axes, images in zip(np.reshape(figure.axes, (2, 2)), attacks, strict=True):
        for axis, predictions in zip(axes, (images.predictions, images.votes), strict=True):
            np.testing.assert_array_equal(numbers_in(axis, 4), matrix_by_hand(images.labels, predictions, 4))
            correct = f"{100 * np.mean(predictions == images.labels):.1f} % of {N} correct"
            assert axis.get_title().endswith(correct)


def test_confusion_figure_of_many_classes_pools_those_that_are_rarely_predicted():
    classes = 100
    images = attacked(classes, count=900)
    figure = confusion.confusion_figure([images], [f"class number {label}" for label in range(classes)])
    totals = [sum((values == label).sum() for values in (images.predictions, images.votes)) for label in range(classes)]
    kept = sorted(sorted(range(classes), key=lambda label: (-totals[label], label))[: confusion.MOST_CLASSES - 1])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [*(f"class number {label}" for label in kept), "others"]
    drawn = numbers_in(figure.axes[0], confusion.MOST_CLASSES)
    by_hand = matrix_by_hand(images.labels, images.predictions, classes)
    assert drawn.sum() == 900
    np.testing.assert_array_equal(drawn[:-1, :-1], by_hand[np.ix_(kept, kept)])
    assert drawn[0, -1] == by_hand[kept[0]].sum() - by_hand[kept[0], kept].sum()
