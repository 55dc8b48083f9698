"""The defence in pytorch-ood's own benchmarks and metrics, beside detectors of that library."""

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from featurepaths import FeaturePathDefense
from tests.models import Layered, calibrated, fitted, images

ood = pytest.importorskip("pytorch_ood.detector")
from pytorch_ood.api import FeaturesDetector  # noqa: E402
from pytorch_ood.benchmark.base import Benchmark  # noqa: E402
from pytorch_ood.metrics import OODMetrics  # noqa: E402
from pytorch_ood.utils import extract_features  # noqa: E402

FeaturesDetector.register(FeaturePathDefense)


class Noisy(Benchmark):
    """Clean images against those of two strengths of noise, which count as out of distribution."""

    ood_names = ("noise", "more noise")

    def train_set(self):
        return TensorDataset(*images(0))

    def test_sets(self, known=True, unknown=True):
        clean = TensorDataset(*images(3))
        noisy = [TensorDataset(images(4, spread=s)[0], torch.full((90,), -1)) for s in (0.8, 2.0)]
        return [ConcatDataset([clean, each]) for each in noisy]


def auroc(defense, spread):
    clean, noisy = images(3)[0], images(4, spread=spread)[0]
    scores = torch.cat([defense.score(clean), defense.score(noisy)])
    return roc_auc_score([1] * 90 + [0] * 90, scores)


def test_a_benchmark_runs_it_beside_its_own_detectors():
    benchmark, defense = Noisy(), FeaturePathDefense(Layered(), ["blurred", "pixels", "sharpened"])
    train = DataLoader(benchmark.train_set(), batch_size=32)
    theirs = [ood.KNN(defense.encoder, k=5), ood.EnergyBased(defense.logits)]
    for detector in (defense, *theirs):
        detector.fit(train)
    rows = benchmark.evaluate([defense, *theirs], loader_kwargs={"batch_size": 32})
    assert [row["Detector"] for row in rows] == ["FeaturePathDefense", "KNN", "EnergyBased"] * 2
    aurocs = {row["Dataset"]: row["AUROC"] for row in rows if row["Detector"] == "FeaturePathDefense"}
    assert aurocs["noise"] == pytest.approx(auroc(fitted(), 0.8), abs=1e-4)
    assert aurocs["more noise"] == pytest.approx(auroc(fitted(), 2.0), abs=1e-4)
    assert all(0.5 < row["AUROC"] < 1 for row in rows if row["Detector"] != "EnergyBased")


def test_defences_of_one_benchmark_keep_their_own_features():
    first, second = (FeaturePathDefense(Layered(), layers) for layers in (["blurred"], ["sharpened", "pixels"]))
    benchmark = Noisy()
    for defense in (first, second):
        defense.fit(DataLoader(benchmark.train_set(), batch_size=32))
    rows = benchmark.evaluate([first, second], loader_kwargs={"batch_size": 32}, cache=True)
    for defense, row in zip((first, second), rows[:2], strict=True):
        assert row["AUROC"] == pytest.approx(auroc(defense, 0.8), abs=1e-4)


def test_cached_features_are_fitted_and_scored_as_theirs_are():
    train = DataLoader(TensorDataset(*images(0)), batch_size=32)
    inputs, labels = images(3)
    defense = FeaturePathDefense(Layered(), ["blurred", "pixels", "sharpened"])
    z, y = extract_features(train, defense.encoder, "cpu")
    metrics = {}
    for detector in (defense, ood.KNN(None, k=5), ood.Mahalanobis(None)):
        assert detector.fit_features(z, y) is detector
        measured = OODMetrics()
        for batch, their in ((inputs, labels), (images(4, spread=0.8)[0], torch.full((90,), -1))):
            with torch.no_grad():
                measured.update(detector.predict_features(defense.encoder(batch)), their)
        metrics[type(detector).__name__] = measured.compute()["AUROC"]
    assert metrics["FeaturePathDefense"] == pytest.approx(auroc(fitted(), 0.8), abs=1e-4)
    assert min(metrics.values()) > 0.5


def test_called_as_a_function_it_gives_outlier_scores():
    defense, measured = calibrated(), OODMetrics()
    for batch, labels in (images(3), (images(4, spread=0.8)[0], torch.full((90,), -1))):
        scores = defense(batch)
        assert not scores.requires_grad
        measured.update(scores, labels)
    assert measured.compute()["AUROC"] == pytest.approx(auroc(defense, 0.8), abs=1e-4)
