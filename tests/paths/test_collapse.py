import numpy as np
import pytest

from featurepaths.paths.collapse import layers_before_collapse, measure_collapse


def simplex(classes):
    """Vertices of a regular simplex, as rows."""
    return (np.eye(classes) - 1 / classes) * np.sqrt(classes / (classes - 1))


def plain(features, labels):
    """The three metrics by their definitions, with d x d matrices and numpy's own pseudo-inverse."""
    features = features.astype(np.float64)
    classes = labels.max() + 1
    means = np.stack([features[labels == c].mean(axis=0) for c in range(classes)])
    overall = features.mean(axis=0)
    within = np.mean([np.outer(h - means[c], h - means[c]) for h, c in zip(features, labels, strict=True)], axis=0)
    between = np.mean([np.outer(m - overall, m - overall) for m in means], axis=0)
    pfc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / classes
    columns = (means - overall).T
    gram = columns.T @ columns
    etf = (np.eye(classes) - np.ones((classes, classes)) / classes) / np.sqrt(classes - 1)
    pfc2 = np.linalg.norm(gram / np.linalg.norm(gram) - etf)
    distances = ((features[:, None] - means[None]) ** 2).sum(axis=2)
    return pfc1, pfc2, (distances.argmin(axis=1) == labels).mean()


@pytest.mark.parametrize("classes", [3, 10])
def test_a_collapsed_simplex_has_nothing_left_to_collapse(classes):
    labels = np.repeat(np.arange(classes), 5)
    metrics = measure_collapse(7 + 3 * simplex(classes)[labels], labels, classes)
    assert metrics.pfc1 == pytest.approx(0, abs=1e-12)
    assert metrics.pfc2 == pytest.approx(0, abs=1e-6)
    assert metrics.pfc3 == 1


def test_pfc1_of_a_simplex_with_known_noise():
    """Vertices of length 1 in the plane, each image a away along the axes: S_W = a^2/2 I, S_B = I/2, PFC1 = 2 a^2/3."""
    vertices = np.array([[1, 0], [-0.5, np.sqrt(3) / 2], [-0.5, -np.sqrt(3) / 2]])
    a = 0.1
    offsets = np.array([[a, 0], [-a, 0], [0, a], [0, -a]])
    features = (vertices[:, None] + offsets[None]).reshape(-1, 2)
    metrics = measure_collapse(features, np.repeat(np.arange(3), 4), 3)
    assert metrics.pfc1 == pytest.approx(2 * a**2 / 3, rel=1e-5)
    assert metrics.pfc2 == pytest.approx(0, abs=1e-6)
    assert metrics.pfc3 == 1


@pytest.mark.parametrize("dimension", [30, 6])
def test_metrics_are_their_definitions(dimension):
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 40)
    features = generator.normal(size=(5, dimension))[labels] + 3 * generator.normal(size=(200, dimension))
    features = features.astype(np.float32)
    metrics = measure_collapse(features, labels, 5)
    pfc1, pfc2, pfc3 = plain(features, labels)
    assert metrics.pfc1 == pytest.approx(pfc1, rel=1e-5)
    assert metrics.pfc2 == pytest.approx(pfc2, rel=1e-6)
    assert metrics.pfc3 == pfc3
    assert 0.2 < pfc3 < 1, "neither trivial nor by chance"


def test_rows_in_another_order_and_more_than_a_chunk():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 700)
    features = (3 * generator.normal(size=(3, 8))[labels] + generator.normal(size=(2100, 8))).astype("f4")
    order = generator.permutation(2100)
    metrics, shuffled = measure_collapse(features, labels, 3), measure_collapse(features[order], labels[order], 3)
    assert metrics.pfc1 == pytest.approx(plain(features, labels)[0], rel=1e-5)
    assert (shuffled.pfc1, shuffled.pfc2, shuffled.pfc3) == pytest.approx((metrics.pfc1, metrics.pfc2, metrics.pfc3))


def test_fewer_dimensions_than_classes():
    labels = np.repeat(np.arange(6), 10)
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6, 2))[labels] * 5 + generator.normal(size=(60, 2))
    assert measure_collapse(features, labels, 6).pfc1 == pytest.approx(plain(features, labels)[0], rel=1e-4)


def test_a_dead_layer_has_no_pfc1():
    metrics = measure_collapse(np.zeros((6, 4), np.float32), np.repeat(np.arange(3), 2), 3)
    assert metrics.pfc1 is None
    assert metrics.pfc3 == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("pfc3", "layers"),
    [
        ([0.5, 0.9, 0.98, 0.99, 1.0], [1, 2, 3]),
        ([0.5, 0.6], [1, 2]),
        ([1.0, 1.0], [1]),
        ([0.5, 0.995, 0.9], [1]),
    ],
)
def test_layers_before_collapse(pfc3, layers):
    assert layers_before_collapse(pfc3, 0.99) == layers
