import copy
import io
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal, spearmanr
from sklearn.covariance import LedoitWolf, ledoit_wolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from featurepaths.detectors import averaged, density
from featurepaths.detectors.base import DetectorInputs, fit_detectors
from featurepaths.detectors.confidence import log_odds
from featurepaths.detectors.density import Density, PathDensity, Transport
from featurepaths.detectors.mahalanobis import RIDGE, Moments
from featurepaths.detectors.registry import DETECTORS, cross_fitted_scores, load, save
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs, model_outputs

CLASSES = 3
CHANNELS = [3, 3, 5, 5]
LAYERED = ["mahalanobis", "nearest-neighbours", "transport", "path-density"]


def images(seed, count, positions=2, spread=1.0, dtype=torch.float32):
    """Plausible outputs of a network: features about their class's mean, logits that mostly name the class."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    centre = torch.Generator().manual_seed(99)
    labels = torch.arange(count) % CLASSES
    features, centroids = [], []
    for channels in CHANNELS:
        means = 3 * torch.randn(CLASSES, channels * positions, generator=centre, dtype=torch.float64)
        features.append((means[labels] + spread * normal(count, channels * positions)).to(dtype))
        centroids.append(torch.nn.functional.normalize(means, dim=1).to(dtype))
    logits = 4 * torch.nn.functional.one_hot(labels, CLASSES) + normal(count, CLASSES)
    return model_outputs(logits.to(dtype), features, centroids), labels


def chunked(outputs, labels, size=50):
    return [(outputs.take(slice(s, s + size)), labels[s : s + size]) for s in range(0, len(labels), size)]


def fitted(name, positions=2, dtype=torch.float32, **options):
    detector = DETECTORS[name](**options)
    detector.fit(chunked(*images(1, 300, positions, dtype=dtype)), images(2, 120, positions, dtype=dtype)[0], CHANNELS)
    return detector


def channel_means(feature, channels):
    """Averages of each channel, in NumPy."""
    return feature.numpy().astype(np.float64).reshape(len(feature), channels, -1).mean(axis=2)


def standardised(scores, of_calibration):
    """Scores by layer, averaged in units of the clean calibration images'."""
    return np.mean([(s - c.mean()) / c.std() for s, c in zip(scores, of_calibration, strict=True)], axis=0)


# Every detector


@pytest.mark.parametrize("name", DETECTORS)
def test_score_of_unusual_images_is_lower_than_of_clean_images(name):
    detector = fitted(name)
    clean, _ = images(3, 90)
    odd, _ = images(4, 90, spread=8.0)
    odd = odd._replace(logits=odd.logits / 10)
    score = detector.score(clean)
    assert score.shape == (90,)
    assert score.dtype == torch.float64
    assert detector.score(odd).median() < score.quantile(0.05)


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("positions", [1, 2])
def test_score_gradient_equals_finite_differences(name, positions):
    detector = fitted(name, positions, torch.float64)
    outputs, _ = images(5, 2, positions, dtype=torch.float64)
    arguments = [tensor.requires_grad_() for tensor in (outputs.logits, outputs.similarity.detach(), *outputs.features)]

    def score(logits, similarity, *features):
        return detector.score(ModelOutputs(logits, list(features), similarity))

    assert torch.autograd.gradcheck(score, arguments)


@pytest.mark.parametrize("name", DETECTORS)
def test_score_of_zero_features_has_finite_gradient(name):
    detector = fitted(name)
    outputs, _ = images(5, 6)
    zero = [torch.zeros_like(feature).requires_grad_() for feature in outputs.features]
    centroids = [torch.eye(CLASSES, feature.shape[1]) for feature in zero]
    logits = torch.zeros(6, CLASSES, requires_grad=True)
    detector.score(model_outputs(logits, zero, centroids)).sum().backward()
    for tensor in [logits, *zero]:
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_score_of_an_image_is_independent_of_the_batch(name):
    detector = fitted(name)
    outputs, _ = images(3, 40)
    alone = torch.cat([detector.score(outputs.take(slice(row, row + 1))) for row in range(40)])
    torch.testing.assert_close(alone, detector.score(outputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_loaded_from_saved_arrays_scores_the_same(name):
    options = {"layers": [1, 2, 4]} if name in LAYERED else {}
    detector = fitted(name, **options)
    file = io.BytesIO()
    np.savez(file, **save(detector))
    file.seek(0)
    read = load(name, dict(np.load(file)))
    outputs, _ = images(3, 40)
    assert torch.equal(read.score(outputs), detector.score(outputs))
    assert read.layers == detector.layers == options.get("layers")
    copied = copy.deepcopy(detector)
    copied.load_state_dict({key: torch.from_numpy(save(detector)[key]) for key in detector.state_dict()})
    assert torch.equal(copied.score(outputs), detector.score(outputs))


def test_load_unknown_name_raises():
    with pytest.raises(FeaturePathsError, match=r"'odin'.*feature-paths, confidence"):
        load("odin", {})


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_raise(name, bad):
    detector = fitted(name)
    outputs, labels = images(3, 40)
    broken = ModelOutputs(
        outputs.logits.clone(), [feature.clone() for feature in outputs.features], outputs.similarity.clone()
    )
    broken.logits[7, 1] = broken.features[1][7, 0] = broken.similarity[7, 2, 1] = bad
    with pytest.raises(FeaturePathsError, match=f"{name}: .*score"):
        detector.score(broken)
    if name in ("confidence", "energy"):
        return
    with pytest.raises(FeaturePathsError, match="calibration image"):
        DETECTORS[name]().fit(chunked(outputs, labels), broken, CHANNELS)
    if name in ("mahalanobis", "nearest-neighbours"):
        with pytest.raises(FeaturePathsError, match=f"{name}: .*layer 2"):
            DETECTORS[name]().fit(chunked(broken, labels), outputs, CHANNELS)


@pytest.mark.parametrize("name", LAYERED)
def test_score_ignores_layers_that_are_not_read(name):
    detector = fitted(name, layers=[1, 2])
    outputs, _ = images(3, 40)
    other = ModelOutputs(
        outputs.logits, [*outputs.features[:2], *(f + 9 for f in outputs.features[2:])], outputs.similarity.clone()
    )
    other.similarity[:, 2:] = 0
    assert torch.equal(detector.score(other), detector.score(outputs))
    assert not torch.equal(fitted(name).score(other), fitted(name).score(outputs))


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("layers", [[], [0, 1], [4, 5]])
def test_fit_with_missing_layers_raises(name, layers):
    with pytest.raises(FeaturePathsError, match=rf"{name}: .*{re.escape(str(layers))}.* 4 "):
        fitted(name, layers=layers)


@pytest.mark.parametrize("name", ["mahalanobis", "nearest-neighbours"])
def test_score_ignores_position_within_channel(name):
    detector = fitted(name)
    outputs, _ = images(3, 40)
    swapped = [
        feature.unflatten(1, (channels, 2)).flip(2).flatten(1)
        for feature, channels in zip(outputs.features, CHANNELS, strict=True)
    ]
    torch.testing.assert_close(detector.score(outputs._replace(features=swapped)), detector.score(outputs))
    with pytest.raises(FeaturePathsError, match=f"{name}: .*6 values.*layer 1 .*4 channels"):
        DETECTORS[name]().fit(chunked(outputs, outputs.logits.argmax(1)), outputs, [4, 3, 5, 5])


@pytest.mark.parametrize("name", LAYERED)
def test_fit_in_chunks_of_any_size_scores_the_same(name):
    train, labels = images(1, 300)
    calibration, outputs = images(2, 120)[0], images(3, 40)[0]
    scores = []
    for size in (300, 50, 7):
        detector = DETECTORS[name]()
        detector.fit(chunked(train, labels, size), calibration, CHANNELS)
        scores.append(detector.score(outputs))
    torch.testing.assert_close(scores[1], scores[0])
    torch.testing.assert_close(scores[2], scores[0])


# Logits


def test_confidence_and_energy_equal_pytorch_ood():
    ood = pytest.importorskip("pytorch_ood.detector")
    logits = 5 * torch.randn(200, 10, generator=torch.Generator().manual_seed(0))
    outputs = ModelOutputs(logits, [], torch.zeros(200, 0, 10))
    for name, theirs in (("confidence", ood.MaxSoftmax), ("energy", ood.EnergyBased)):
        torch.testing.assert_close(DETECTORS[name]().score(outputs).float(), -theirs.score(logits))


def test_confidence_and_energy_equal_scipy():
    outputs, _ = images(3, 50)
    logits = outputs.logits.numpy().astype(np.float64)
    scores = DETECTORS["confidence"]().score(outputs)
    np.testing.assert_allclose(scores, np.exp(log_softmax(logits, axis=1)).max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(DETECTORS["energy"]().score(outputs), logsumexp(logits, axis=1), rtol=1e-12)


def test_confidence_near_one_keeps_order_and_gradient():
    logits = torch.tensor([[20.0, 0.0], [25.0, 0.0]], requires_grad=True)
    score = DETECTORS["confidence"]().score(ModelOutputs(logits, [], torch.zeros(2, 0, 2)))
    score.sum().backward()
    assert score[0] < score[1] < 1
    assert (logits.grad[:, 0] > 0).all()


def two_sided(values):
    """A detector calibrated on images of two classes with such log-odds."""
    detector = DETECTORS["two-sided-confidence"]()
    detector.fit([], of_log_odds(values), [])
    return detector


def of_log_odds(values):
    values = torch.as_tensor(values)
    return ModelOutputs(torch.stack([values, torch.zeros_like(values)], dim=1), [], torch.zeros(len(values), 0, 2))


def test_two_sided_confidence_equals_hand_computed_values():
    detector = two_sided([2.0, 3.0, 5.0])  # F is 1/4, 1/2 and 3/4 there; the standard deviation is sqrt(7/3)
    deviation = (7 / 3) ** 0.5
    asked = [2.0, 2.5, 3.0, 4.0, 5.0, 2 - deviation, 5 + deviation, 5 + 2 * deviation]
    scores = detector.score(of_log_odds(torch.tensor(asked, dtype=torch.float64)))
    np.testing.assert_allclose(scores, [1 / 4, 3 / 8, 1 / 2, 3 / 8, 1 / 4, 0, 0, -1 / 4], atol=1e-12)


def test_log_odds_equal_those_of_the_softmax():
    outputs, _ = images(3, 50)
    logits = outputs.logits.numpy().astype(np.float64)
    p = np.exp(log_softmax(logits, axis=1)).max(axis=1)
    np.testing.assert_allclose(log_odds(outputs.logits), np.log(p / (1 - p)), rtol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 12), min_size=2, max_size=30),
    st.lists(st.floats(0.001, 40), min_size=2, max_size=30, unique=True),
)
def test_two_sided_confidence_has_one_maximum_and_gradient_everywhere(calibration, asked):
    detector = two_sided([1.0 + value for value in calibration])  # with ties
    outputs = of_log_odds(torch.tensor(sorted(asked), dtype=torch.float64))
    logits = outputs.logits.requires_grad_()
    score = detector.score(outputs._replace(logits=logits))
    (gradient,) = torch.autograd.grad(score.sum(), logits)
    assert (gradient[:, 0] != 0)[score < 0.5].all()
    assert score.max() <= 0.5
    signs = torch.sign(score.diff())
    top = int(score.argmax())
    assert (signs[:top] >= 0).all()
    assert (signs[top:] <= 0).all()


# Mahalanobis and nearest neighbours


def distances(train, labels, asked):
    """Squared distances to the nearest class mean, of standardised channels, by scikit-learn and a loop."""
    train, asked = (np.asarray(values, dtype=np.float64) for values in (train, asked))
    classes = np.unique(labels)
    means = np.stack([train[labels == c].mean(axis=0) for c in classes])
    residuals = train - means[labels]
    std = residuals.std(axis=0)
    covariance = LedoitWolf(assume_centered=True).fit(residuals / std)
    precision = np.linalg.inv(covariance.covariance_ + RIDGE * np.eye(len(std)))
    each = [np.einsum("nd,de,ne->n", z, precision, z) for z in ((asked - mean) / std for mean in means)]
    return np.min(each, axis=0)


def test_mahalanobis_equals_scikit_learn():
    (train, labels), (calibration, _), (outputs, _) = images(1, 300), images(2, 120), images(3, 40)
    scores, clean = [], []
    for layer, channels in enumerate(CHANNELS):
        of_train = channel_means(train.features[layer], channels)
        for part, to in ((outputs, scores), (calibration, clean)):
            to.append(-distances(of_train, labels.numpy(), channel_means(part.features[layer], channels)))
    np.testing.assert_allclose(fitted("mahalanobis").score(outputs), standardised(scores, clean), rtol=1e-4)


def one_layer(features):
    return ModelOutputs(torch.zeros(len(features), 10), [features], torch.zeros(len(features), 1, 10))


def one_layer_detector(train, labels, clean, size=200):
    """Mahalanobis distances of one layer, fitted in chunks."""
    detector = DETECTORS["mahalanobis"]()
    detector.fit(chunked(one_layer(train), labels, size), one_layer(clean), [train.shape[1]])
    return detector


def draws(count, width, seed, spread=1.0, centres=10.0):
    """Training images of ten classes, clean ones, and ones shifted in their last channel; in float64."""
    generator = torch.Generator().manual_seed(seed)
    mean = centres * torch.randn(10, width, generator=generator, dtype=torch.float64)
    labels = torch.arange(count) % 10

    def some(labels):
        noise = torch.randn(len(labels), width, generator=generator, dtype=torch.float64)
        return mean[labels] + spread * noise

    clean, shifted = some(torch.arange(500) % 10), some(torch.arange(500) % 10)
    shifted[:, -1] += 6 * spread
    return some(labels), labels, clean, shifted


SITUATIONS = {
    "wide channel": lambda: (*draws(2000, 32, 0), 1e4),
    "very wide channel": lambda: (*draws(2000, 32, 1), 1e8),
    "narrow channel": lambda: (*draws(2000, 32, 2), 1e-8),
    "fewer images than dimensions": lambda: (*draws(200, 300, 3, centres=0.0), 1),
    "as many images as dimensions": lambda: (*draws(300, 300, 4, centres=0.0), 1),
    "collapsed": lambda: (*draws(2000, 32, 5, spread=1e-4), 1),
    "collapsed, channel wide": lambda: (*draws(2000, 32, 6, spread=1e-4), 1e6),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_mahalanobis_of_hard_covariances_equals_scikit_learn(situation, dtype):
    train, labels, clean, shifted, wide = SITUATIONS[situation]()
    for part in (train, clean, shifted):
        part[:, 0] *= wide
    train, clean, shifted = (part.to(dtype) for part in (train, clean, shifted))
    detector = one_layer_detector(train, labels, clean)
    suspicion = [-detector.layer_score(one_layer(part), 1) for part in (clean, shifted)]
    expected = [distances(train.numpy(), labels.numpy(), part.numpy()) for part in (clean, shifted)]
    for actual, wanted in zip(suspicion, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)
    truth = [0] * 500 + [1] * 500
    auroc = roc_auc_score(truth, torch.cat(suspicion))
    assert auroc == pytest.approx(roc_auc_score(truth, np.concatenate(expected)), abs=1e-6)
    assert auroc > 0.75


@pytest.mark.parametrize("spread", [0, 1e-6, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_collapsed_classes_have_finite_distances_that_rank(spread, stored):
    """The covariance within classes is that of rounding, or zero."""
    for seed in range(3):
        train, labels, clean, odd = draws(2000, 32, seed, spread=spread)
        odd[:, 1] += 1
        train, clean, odd = (part.to(stored).float() for part in (train, clean, odd))
        detector = one_layer_detector(train, labels, clean)
        clean_score, odd_score = detector.score(one_layer(clean)), detector.score(one_layer(odd))
        assert torch.isfinite(torch.cat([clean_score, odd_score])).all()
        assert odd_score.max() < clean_score.min()


def test_binary_codes_of_classes_are_ranked():
    generator = torch.Generator().manual_seed(0)
    codes, labels = torch.randint(2, (10, 32), generator=generator).float(), torch.arange(2000) % 10
    odd = codes[labels[:100]] + 0.1 * torch.randn(100, 32, generator=generator)
    detector = one_layer_detector(codes[labels], labels, codes[labels[:100]])
    assert (detector.score(one_layer(odd)) < detector.score(one_layer(codes))[:, None].T.min()).all()
    assert torch.equal(detector.layer_score(one_layer(codes), 1), torch.zeros(10, dtype=torch.float64))


@pytest.mark.parametrize("count", [10, 11, 20])
def test_one_or_two_images_a_class_give_finite_distances(count):
    train, labels, clean, shifted = draws(count, 32, 0)
    detector = one_layer_detector(train.float(), labels, clean.float())
    score = detector.score(one_layer(shifted.float()))
    assert torch.isfinite(score).all()
    assert score.median() < detector.score(one_layer(clean.float())).median()


def test_channels_that_repeat_others_count_once_more_or_less():
    """A covariance of less than full rank, that shrinkage alone may leave so."""
    train, labels, clean, shifted = draws(2000, 8, 0)
    plain = one_layer_detector(train, labels, clean)
    train, clean, shifted = (torch.cat([part, part, 2 * part], dim=1) for part in (train, clean, shifted))
    repeated = one_layer_detector(train, labels, clean)
    truth, aurocs = [0] * 500 + [1] * 500, []
    for detector, width in ((plain, 8), (repeated, 24)):
        scores = [detector.score(one_layer(part[:, :width])) for part in (clean, shifted)]
        aurocs.append(roc_auc_score(truth, -torch.cat(scores)))
    assert aurocs[0] == pytest.approx(aurocs[1], abs=0.01)
    one = (torch.arange(100) // 10 % 2 * 2.0 - 1)[:, None].repeat(1, 5)  # +-1 in every channel: of rank one, not shrunk
    detector = one_layer_detector(one, torch.arange(100) % 10, one)
    assert torch.isfinite(detector.score(one_layer(one))).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-26, 26), min_size=6, max_size=6), st.integers(0, 3), st.sampled_from([30, 4, 300]))
def test_mahalanobis_is_invariant_to_channel_units(powers, seed, count):
    """By powers of two, which round nothing, not in the last bit; otherwise but for rounding."""
    train, labels, clean, shifted = (
        part.float() if part.is_floating_point() else part for part in draws(max(count, 10), 6, seed)
    )
    units = torch.tensor(powers, dtype=torch.float32).exp2()
    plain = one_layer_detector(train, labels, clean).score(one_layer(shifted))
    scaled = one_layer_detector(train * units, labels, clean * units).score(one_layer(shifted * units))
    assert torch.equal(scaled, plain)
    units = 1.7 * units
    near = one_layer_detector(train * units, labels, clean * units).score(one_layer(shifted * units))
    torch.testing.assert_close(near, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("width", [1, 2, 40])
@pytest.mark.parametrize("count", [20, 60, 500])
def test_moments_in_chunks_shrink_as_ledoit_wolf(width, count, monkeypatch):
    train, labels, _, _ = draws(count, width, 7, spread=3.0)
    train = train + 0.8 * train[:, :1]  # correlated
    residuals = (train - torch.stack([train[labels == c].mean(dim=0) for c in range(10)])[labels]).numpy()
    expected, share = ledoit_wolf(residuals / residuals.std(axis=0), assume_centered=True)
    for size in (3, 64, 1000):
        accumulator = Moments()
        for start in range(0, count, size):
            accumulator.add(train[start : start + size], labels[start : start + size], 10)
        _, scale, covariance = accumulator.result()
        np.testing.assert_allclose(scale, residuals.std(axis=0), rtol=1e-12)
        np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(averaged, "REFERENCES", 250)  # every second of 500: estimated, and the memory stays flat
    accumulator = Moments()
    for start in range(0, count, 64):
        accumulator.add(train[start : start + 64], labels[start : start + 64], 10)
        assert len(accumulator.values.rows) <= 250
    empirical = np.corrcoef(residuals, rowvar=False).reshape(width, width)
    if width > 1:
        shrinkage = 1 - accumulator.result()[2].numpy()[0, 1] / empirical[0, 1]
        assert shrinkage == pytest.approx(share, rel=0.25)


def test_distance_at_class_mean_is_zero_and_never_negative():
    """Of classes far apart, in units of their width."""
    train, labels, clean, _ = draws(2000, 32, 8, spread=1e-5)
    detector = one_layer_detector(train, labels, clean)
    means = torch.stack([train[labels == c].mean(dim=0) for c in range(10)])
    at_means = detector.layer_score(one_layer(means), 1)
    assert (at_means <= 0).all()
    assert at_means.abs().max() < 1e-6


def test_mahalanobis_ranks_as_pytorch_oods():
    ood = pytest.importorskip("pytorch_ood.detector")
    (train, labels), (outputs, _) = images(1, 300), images(3, 40)
    theirs = ood.Mahalanobis(None).fit_features(torch.from_numpy(channel_means(train.features[2], 5)).float(), labels)
    expected = theirs.predict_features(torch.from_numpy(channel_means(outputs.features[2], 5)).float())
    scores = fitted("mahalanobis").layer_score(outputs, 3)
    assert spearmanr(scores, -expected).statistic > 0.99  # theirs is not shrunk


def test_mahalanobis_with_zero_channels_is_finite():
    (train, labels), (calibration, _), (outputs, _) = images(1, 300), images(2, 120), images(3, 40)
    for part in (train, calibration, outputs):
        part.features[0][:] = 0
        part.features[1][:, :2] = 0
    detector = DETECTORS["mahalanobis"]()
    detector.fit(chunked(train, labels), calibration, CHANNELS)
    assert torch.isfinite(detector.score(outputs)).all()


def test_mahalanobis_far_from_origin_scores_the_same():
    (train, labels), (calibration, _), (outputs, _) = (
        images(seed, n, dtype=torch.float64) for seed, n in ((1, 300), (2, 120), (3, 40))
    )
    near, far = DETECTORS["mahalanobis"](), DETECTORS["mahalanobis"]()
    near.fit(chunked(train, labels), calibration, CHANNELS)
    moved = [part._replace(features=[f + 1e6 for f in part.features]) for part in (train, calibration, outputs)]
    far.fit(chunked(moved[0], labels), moved[1], CHANNELS)
    torch.testing.assert_close(far.score(moved[2]), near.score(outputs), rtol=1e-5, atol=1e-5)


def test_fit_without_images_of_a_class_raises():
    (train, labels), (calibration, _) = images(1, 300), images(2, 120)
    rows = labels != 1
    with pytest.raises(FeaturePathsError, match=r"mahalanobis: .*class 1"):
        DETECTORS["mahalanobis"]().fit([(train.take(rows), labels[rows])], calibration, CHANNELS)
    with pytest.raises(FeaturePathsError, match=r"mahalanobis: .*any class"):
        DETECTORS["mahalanobis"]().fit([], calibration, CHANNELS)


def neighbour_similarities(train, asked, neighbour):
    nearest = NearestNeighbors(n_neighbors=neighbour, metric="cosine").fit(train)
    return 1 - nearest.kneighbors(asked)[0][:, -1]


def test_nearest_neighbours_equal_scikit_learn():
    (train, _), (calibration, _), (outputs, _) = images(1, 300), images(2, 120), images(3, 40)
    scores, clean = [], []
    for layer, channels in enumerate(CHANNELS):
        of_train = channel_means(train.features[layer], channels)
        for part, to in ((outputs, scores), (calibration, clean)):
            to.append(neighbour_similarities(of_train, channel_means(part.features[layer], channels), 10))
    np.testing.assert_allclose(fitted("nearest-neighbours").score(outputs), standardised(scores, clean), atol=1e-3)


def test_nearest_neighbours_equal_pytorch_ood():
    ood = pytest.importorskip("pytorch_ood.detector")
    (train, labels), (outputs, _) = images(1, 300), images(3, 40)
    theirs = ood.KNN(None, k=10).fit_features(torch.from_numpy(channel_means(train.features[2], 5)), labels)
    distance = theirs.predict_features(torch.from_numpy(channel_means(outputs.features[2], 5)))
    scores = fitted("nearest-neighbours").layer_score(outputs, 3)
    torch.testing.assert_close(scores.double(), 1 - distance**2 / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [300, 50, 7])
def test_nearest_neighbours_keep_evenly_spaced_images(monkeypatch, size):
    monkeypatch.setattr(averaged, "REFERENCES", 100)
    train, labels = images(1, 300)
    detector = DETECTORS["nearest-neighbours"]()
    detector.fit(chunked(train, labels, size), images(2, 120)[0], CHANNELS)
    expected = channel_means(train.features[1], 3)[::4]  # 75: every second one would be 150
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(detector.references_2, expected, rtol=1e-4, atol=1e-6)


def test_nearest_neighbours_of_too_few_images_raise():
    with pytest.raises(FeaturePathsError, match=r"nearest-neighbours: .*10 "):
        DETECTORS["nearest-neighbours"]().fit(chunked(*images(1, 9)), images(2, 120)[0], CHANNELS)


# Densities


def test_density_of_class_with_enough_images_has_own_gaussian():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 70])
    values = generator.normal(size=(130, 3)) @ generator.normal(size=(3, 3)) * (1 + labels[:, None]) + labels[:, None]
    gaussians = Density()
    gaussians.fit(torch.from_numpy(values), torch.from_numpy(labels), 2)
    asked = generator.normal(size=(20, 3))
    scores = gaussians(torch.from_numpy(asked), torch.from_numpy(np.arange(20) % 2))
    scaled, asked = (values - values.mean(0)) / values.std(0), (asked - values.mean(0)) / values.std(0)
    for c in (0, 1):
        own = LedoitWolf().fit(scaled[labels == c])
        expected = multivariate_normal(own.location_, own.covariance_).logpdf(asked[c::2])
        np.testing.assert_allclose(scores[c::2], expected, rtol=1e-4)


def test_density_of_classes_with_few_images_shares_covariance():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [14, 10, density.MEAN_IMAGES - 1])  # none is enough for 4 statistics; 3 is not there
    values = generator.normal(size=(len(labels), 4)) + 2 * labels[:, None]
    gaussians = Density()
    gaussians.fit(torch.from_numpy(values), torch.from_numpy(labels), 4)
    asked = generator.normal(size=(8, 4))
    scores = gaussians(torch.from_numpy(asked), torch.arange(8) % 4)
    scaled, asked = (values - values.mean(0)) / values.std(0), (asked - values.mean(0)) / values.std(0)
    means = {c: scaled[labels == c].mean(axis=0) for c in (0, 1)}
    within = np.concatenate([scaled[labels == c] - means[c] for c in (0, 1)])
    shared = LedoitWolf(assume_centered=True).fit(within).covariance_
    together = LedoitWolf().fit(scaled).covariance_
    for c in range(4):
        mean, covariance = (means[c], shared) if c in means else (np.zeros(4), together)
        np.testing.assert_allclose(scores[c::4], multivariate_normal(mean, covariance).logpdf(asked[c::4]), rtol=1e-4)


def test_density_of_constant_statistic_is_finite():
    values = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    values[:, 1] = 0.1
    gaussians = Density()
    gaussians.fit(values, torch.zeros(50, dtype=torch.int64), 1)
    assert torch.isfinite(gaussians(values, torch.zeros(50, dtype=torch.int64))).all()


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_density_is_invariant_to_units(scale, shift):
    values = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(60) % 2
    plain, moved = Density(), Density()
    plain.fit(values, labels, 2)
    moved.fit(values * scale + shift, labels, 2)
    torch.testing.assert_close(moved(values * scale + shift, labels), plain(values, labels), rtol=1e-6, atol=1e-6)


def test_density_of_many_classes_and_few_images_separates():
    generator = torch.Generator().manual_seed(0)
    values, labels = torch.randn(144, 27, generator=generator), torch.arange(144) % 10
    gaussians = Density()
    gaussians.fit(values, labels, 10)
    usual, odd = (
        gaussians(torch.randn(100, 27, generator=generator), torch.arange(100) % 10),
        gaussians(values + 3, labels),
    )
    assert odd.max() < usual.min()


def test_calibrate_with_one_image_raises():
    for name in ("two-sided-confidence", *LAYERED):
        with pytest.raises(FeaturePathsError, match=rf"{name}: .*2 .*data\.calibration"):
            DETECTORS[name]().fit(chunked(*images(1, 300)), images(2, 1)[0], CHANNELS)


def test_path_density_statistics_equal_plain_loop():
    detector = fitted("path-density", layers=[1, 3])
    outputs, _ = images(3, 12)
    statistics = detector.statistics(outputs)
    for n in range(12):
        own = int(np.argmax(outputs.logits[n].numpy()))
        similarity = [outputs.similarity[n, layer].tolist() for layer in (0, 2)]
        margins = [of[own] - max(value for c, value in enumerate(of) if c != own) for of in similarity]
        lengths = [np.log(np.linalg.norm(outputs.features[layer][n].numpy())) for layer in (0, 2)]
        np.testing.assert_allclose(
            statistics[n], [of[own] for of in similarity] + margins + lengths, rtol=1e-4, atol=1e-6
        )


def test_transport_statistics_equal_plain_loop():
    detector = fitted("transport")
    outputs, _ = images(3, 12)
    statistics = detector.statistics(outputs)
    for n in range(12):
        lengths, cosines = [], []
        for layer in (0, 2):  # from the second to the third the size changes
            before, after = (outputs.features[number][n].numpy().astype(float) for number in (layer, layer + 1))
            step = after - before
            lengths.append(np.log(np.linalg.norm(step)))
            cosines.append(step @ before / np.linalg.norm(step) / np.linalg.norm(before))
        np.testing.assert_allclose(statistics[n], lengths + cosines, rtol=1e-4, atol=1e-5)


def test_transport_without_equal_layers_raises():
    calibration, _ = images(2, 120)
    with pytest.raises(FeaturePathsError, match=r"transport: .*\[2, 3\]"):
        Transport([2, 3]).fit([], calibration, CHANNELS)
    shrunk = calibration._replace(features=[f if n else f[:, :3] for n, f in enumerate(calibration.features)])
    detector = Transport()
    detector.fit([], shrunk, CHANNELS)  # 3 channels as in the layer after, but fewer positions
    assert detector.statistics(shrunk).shape == (120, 2)
    with pytest.raises(FeaturePathsError, match=r"transport: .*\[3, 4\]"):
        Transport([3, 4]).fit([], calibration, [3, 3, 5, 10])


@pytest.mark.parametrize("kind", [PathDensity, Transport])
def test_density_detector_score_equals_log_density(kind):
    detector, (outputs, _) = fitted(kind.name), images(3, 30)
    calibration = images(2, 120)[0]
    labels = calibration.logits.argmax(dim=1)
    values = detector.statistics(calibration).double().numpy()
    asked = (detector.statistics(outputs).double().numpy() - values.mean(0)) / values.std(0)
    values = (values - values.mean(0)) / values.std(0)
    means = np.stack([values[labels == c].mean(axis=0) for c in range(CLASSES)])
    shared = LedoitWolf(assume_centered=True).fit(values - means[labels]).covariance_
    for row, c in enumerate(outputs.logits.argmax(dim=1).tolist()):
        own = shared
        if (labels == c).sum() >= density.COVARIANCE_IMAGES * values.shape[1]:
            own = LedoitWolf().fit(values[labels == c]).covariance_
        expected = multivariate_normal(means[c], own).logpdf(asked[row])
        assert detector.score(outputs)[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_score_of_class_without_calibration_images_is_finite():
    (train, labels), (calibration, _), (outputs, _) = images(1, 300), images(2, 120), images(3, 30)
    without = calibration.take(calibration.logits.argmax(dim=1) != 2)
    for name in ("path-density", "transport"):
        detector = DETECTORS[name]()
        detector.fit(chunked(train, labels), without, CHANNELS)
        assert torch.isfinite(detector.score(outputs)).all()


# Cross-fitting


def cross_fitted(name, train, calibration, labels, **options):
    detector = DETECTORS[name]()
    fit_detectors([detector], train, CHANNELS)
    return cross_fitted_scores(detector, detector.inputs(calibration), labels, **options)


@pytest.mark.parametrize("name", DETECTORS)
def test_cross_fitted_scores_equal_fits_to_the_other_folds(name):
    train, (calibration, labels) = chunked(*images(1, 300)), images(2, 31)
    scores = cross_fitted(name, train, calibration, labels, folds=4)
    order = sorted(range(31), key=lambda row: (int(labels[row]), row))
    for number in range(4):
        mine = torch.tensor(order[number::4])
        others = torch.tensor([row for row in range(31) if row not in set(mine.tolist())])
        detector = DETECTORS[name]()
        detector.fit(train, calibration.take(others), CHANNELS)
        torch.testing.assert_close(scores[mine], detector.score(calibration.take(mine)), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 59), st.sampled_from(["two-sided-confidence", "transport", "path-density"]))
def test_cross_fitted_scores_of_a_fold_ignore_its_outlier(row, name):
    calibration, labels = images(2, 60)
    odd = ModelOutputs(
        calibration.logits.clone(), [f.clone() for f in calibration.features], calibration.similarity.clone()
    )
    odd.logits[row] *= 100
    for feature in odd.features:
        feature[row] *= -50
    odd.similarity[row] *= -1
    plain, planted = (cross_fitted(name, [], outputs, labels) for outputs in (calibration, odd))
    position = sorted(range(60), key=lambda n: (int(labels[n]), n))
    fold = {n: place % 5 for place, n in enumerate(position)}
    same = torch.tensor([n for n in range(60) if n != row and fold[n] == fold[row]])
    others = torch.tensor([n for n in range(60) if fold[n] != fold[row]])
    assert torch.equal(plain[same], planted[same])
    assert (plain[others] != planted[others]).any()
    if name != "two-sided-confidence":  # where many are as sure as an outlier can be
        assert planted[row] <= planted[same].min()


class Counted:
    """Training images that count how often they are read."""

    reads = 0

    def __iter__(self):
        self.reads += 1
        return iter(chunked(*images(1, 300)))


def test_cross_fitting_reads_training_images_once():
    for name, reads in (("confidence", 0), ("path-density", 0), ("mahalanobis", 1), ("nearest-neighbours", 1)):
        train = Counted()
        cross_fitted(name, train, *images(2, 60))
        assert train.reads == reads


def test_detectors_fitted_together_equal_fitted_alone_in_one_pass():
    train, together = Counted(), [DETECTORS[name]() for name in DETECTORS]
    fit_detectors(together, train, CHANNELS)
    assert train.reads == 1
    calibration, outputs = images(2, 60)[0], images(3, 40)[0]
    for detector in together:
        detector.calibrate(detector.inputs(calibration))
        alone = DETECTORS[detector.name]()
        alone.fit(chunked(*images(1, 300)), calibration, CHANNELS)
        assert torch.equal(detector.score(outputs), alone.score(outputs))
    fit_detectors([DETECTORS["energy"](), DETECTORS["transport"]()], train, CHANNELS)
    assert train.reads == 1, "nobody learns from them"


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_inputs_are_small_and_determine_the_score(name):
    detector = fitted(name, positions=40)
    outputs, labels = images(3, 40, positions=40)
    parts = [detector.inputs(part) for part, _ in chunked(outputs, labels, 7)]
    inputs = DetectorInputs(*map(torch.cat, zip(*parts, strict=True)))
    assert inputs.statistics.shape[1] <= 3 * len(CHANNELS)
    torch.testing.assert_close(detector.score_samples(inputs), detector.score(outputs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        detector.score_samples(inputs.take(slice(5, 9))), detector.score(outputs)[5:9], rtol=1e-5, atol=1e-5
    )


def test_cross_fitting_fewer_images_than_folds_raises():
    with pytest.raises(FeaturePathsError, match=r"4 .*5: set data\.calibration"):
        cross_fitted("confidence", [], *images(2, 4))
