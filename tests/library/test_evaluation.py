"""The evaluation of a defence in one call: against closed forms, its own examples, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from featurepaths import FeaturePathDefense, FeaturePathsError, evaluate
from featurepaths.detectors.thresholds import otsu
from featurepaths.experiment.config.evaluation import AdaptiveSearch
from tests import planted
from tests.models import CLASSES, LAYERS, Layered, calibrated, fitted, images, loader

FAST = {"eps": 0.1, "iterations": 3, "losses": ["ce"], "n_targets": 1, "progress": False}


@pytest.fixture(scope="module")
def defense():
    return calibrated()


@pytest.fixture(scope="module")
def result(defense):
    return defense.evaluate(loader(5, count=24), **FAST)


def same(one, other):
    """Whether two evaluations found the same of every image."""
    return one.records.keys() == other.records.keys() and all(
        np.array_equal(values, other.records[name], equal_nan=values.dtype.kind == "f")
        for name, values in one.records.items()
    )


# Results


@pytest.mark.parametrize(("factor", "survives"), [(0.9, True), (1.1, False)])
def test_evaluate_planted_defense_falls_where_geometry_says(factor, survives):
    """The second layer always votes for the true class, so the defence is wrong only where it is evaded."""
    defense = planted.defense(planted.Plane(), [2])
    batch = [(planted.images(5), torch.zeros(5, dtype=torch.long))]
    result = defense.evaluate(batch, eps=factor * planted.TO_EVADE, progress=False)
    assert result.counts["defended"]["adaptive_correct"] == 5 * survives
    assert result.counts["undefended"]["adaptive_correct"] == 0  # the network alone falls at a smaller radius
    assert planted.TO_FOOL < 0.9 * planted.TO_EVADE
    worst = result.table.set_index("attack").loc["worst case over all"]
    assert worst["defended_accuracy"] == survives
    z = 1.959964  # Wilson's interval written out, of 0 or 5 of 5 images
    assert worst["defended_accuracy_low"] == pytest.approx(5 / (5 + z**2) if survives else 0, abs=1e-6)
    assert worst["defended_accuracy_high"] == pytest.approx(1 if survives else z**2 / (5 + z**2), abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_evaluate_examples_lie_in_the_ball_and_predict_agrees_with_the_table(defense, norm):
    result = defense.evaluate(loader(5, count=24), **FAST | {"eps": 0.15, "norm": norm})
    clean, labels = images(5, count=24)
    order = {"linf": math.inf, "l2": 2}[norm]
    table = result.table.set_index("attack")
    for name, row in (
        ("apgd.first-success", "apgd.first-success"),
        ("apgd.max-loss",) * 2,
        ("worst", "worst case over all"),
    ):
        examples = result.adversarial[name]
        assert torch.linalg.vector_norm((examples - clean).flatten(1), ord=order, dim=1).max() <= 0.15 + 1e-6
        assert examples.min() >= 0 <= 1 >= examples.max()
        correct = (defense.predict(examples).label == labels).double().mean()
        assert table.loc[row, "defended_accuracy"] == pytest.approx(correct.item())
        if name != "worst":
            network = (defense.logits(examples).argmax(dim=1) == labels).double().mean()
            assert table.loc[row, "undefended_accuracy"] == pytest.approx(network.item())
    assert table.loc["none", "defended_accuracy"] == pytest.approx(
        (defense.predict(clean).label == labels).double().mean()
    )
    assert table.loc["worst case over all", "defended_accuracy"] < table.loc["none", "defended_accuracy"]


def test_evaluate_defaults_are_those_of_the_configuration(defense):
    result, default = defense.evaluate(loader(5, count=4), eps="1/100", progress=False), AdaptiveSearch()
    assert {key: result.counts[key] for key in ("iterations", "restarts", "n_targets")} == {
        key: getattr(default, key) for key in ("iterations", "restarts", "n_targets")
    }
    names = {attack["name"] for attack in result.counts["attacks"]}
    assert {f"{objective}.{loss}" for objective in default.objectives for loss in default.losses} <= names
    assert result.counts["left_out"] == f"1 of {default.n_targets} targets (wrong classes: 2)"
    assert result.counts["left_out"] in str(result)


# What makes no difference, and what does


def test_evaluate_loaders_of_other_batch_sizes_and_types_same(defense, result):
    batch, labels = images(5, count=24)
    for batches in (
        loader(5, size=7, count=24),
        DataLoader(TensorDataset(batch, labels), batch_size=24),
        iter([(batch, labels.int())]),
        [(torch.cat([batch[:3], batch]), torch.cat([torch.full((3,), -1), labels]))],  # three of other data
    ):
        assert same(defense.evaluate(batches, **FAST), result)


def test_evaluate_model_in_training_mode_and_without_gradients_same(defense, result):
    defense.encoder.network.network.train()
    with torch.inference_mode():
        batch, labels = images(5, count=24)
        assert same(defense.evaluate([(batch.clone(), labels)], **FAST, device="cpu"), result)
    assert not any(module.training for module in defense.encoder.modules())


def test_evaluate_leaves_global_settings_and_gradients_alone(defense):
    cudnn = torch.backends.cudnn
    settings = cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
    defense.evaluate(loader(5, count=4), **FAST)
    assert settings == (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    assert all(parameter.grad is None for parameter in defense.parameters())


def test_evaluate_max_images_attacks_evenly_spaced_ones_alike(defense, result):
    part = defense.evaluate(loader(5, count=24), **FAST, max_images=6)
    assert list(part.records["index"]) == [0, 4, 8, 12, 16, 20]
    detectors = {"feature-paths": (defense.detector, 1.0)}
    batch, whole = (
        defense.evaluate(loader(5, count=24), **FAST, max_images=limit, detectors=detectors) for limit in (6, None)
    )
    for name in batch.adversarial:
        assert torch.equal(batch.adversarial[name], whole.adversarial[name][::4]), name


def test_evaluate_other_seed_or_indices_other_random_starts(defense, result):
    examples = result.adversarial["apgd.max-loss"]
    for options in ({"seed": 1}, {"indices": range(100, 124)}):
        other = defense.evaluate(loader(5, count=24), **FAST, **options)
        assert not torch.equal(other.adversarial["apgd.max-loss"], examples)


# Text


def test_evaluation_as_text_and_html_has_verdict_and_every_row(result):
    assert str(result) == repr(result)
    assert str(result).startswith(result.verdict)
    lines = str(result).splitlines()
    html = result._repr_html_()
    for row in result.table.itertuples():
        (line,) = (each for each in lines if f" {row.attack} " in f" {each} ".replace("  ", " "))
        if row.n_attacked:
            assert f"{100 * row.defended_accuracy:.1f} [" in line
        assert f"<td>{row.attack}</td>" in html
    assert "Layered, flatten features" in result.verdict


def test_evaluation_of_a_network_no_better_than_chance_says_so(defense):
    batch, labels = images(5, count=60)
    result = defense.evaluate([(batch, (labels + 1) % CLASSES)], **FAST)
    assert "chance" in result.verdict


def test_evaluation_of_probabilities_says_so():
    class Softmax(Layered):
        def forward(self, images):
            return super().forward(images).softmax(dim=1)

    with pytest.warns(UserWarning, match="probabilities"):
        defense = FeaturePathDefense(Softmax(), LAYERS).fit(loader(0))
    assert "probabilities" in defense.calibrate(loader(1)).evaluate(loader(5, count=12), **FAST).verdict


def test_evaluate_progress_bar_reaches_its_end_or_is_silent(defense, capsys):
    defense.evaluate(loader(5, count=150), **FAST | {"progress": True})
    shown = capsys.readouterr().err
    *_, last = shown.replace("\r", "\n").split("\n")[:-1]
    assert "100%" in last
    done, _, total = last.partition("| ")[2].partition(" ")[0].partition("/")
    assert done == total
    defense.evaluate(loader(5, count=4), **FAST)
    assert capsys.readouterr().err == ""


# Refusals

SOME, LABELS = images(5, count=6)


@pytest.mark.parametrize(
    ("batches", "named"),
    [
        ([(SOME, LABELS + CLASSES)], f"label {CLASSES + 2}"),
        ([(SOME * 255, LABELS)], r"\[0, 1\]"),
        ([(SOME, LABELS.float())], "whole numbers"),
        (DataLoader(TensorDataset(SOME)), "labels"),
        ([SOME], "labels"),
        ([], "no labelled image"),
        ([(SOME, torch.full_like(LABELS, -1))], "no labelled image"),
        ([(SOME, LABELS), (SOME[..., :2], LABELS)], r"shapes.*\(1, 2, 2\).*\(1, 2, 3\)"),
    ],
)
def test_evaluate_images_that_cannot_be_attacked_refused(defense, batches, named):
    with pytest.raises(FeaturePathsError, match=named):
        defense.evaluate(batches, **FAST)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"eps": 8}, "eps: .*8/255"),
        ({"eps": "a lot"}, "eps: "),
        ({"norm": "l1"}, "norm: .*'l1'"),
        ({"iterations": 0}, "iterations: .*0"),
        ({"losses": ["cw"]}, "losses.*'cw'"),
        ({"objectives": []}, "objectives"),
        ({"max_images": 0}, "max_images"),
        ({"indices": [1, 2]}, "indices: .*6"),
        ({"indices": [1] * 6}, "indices: .*6"),
    ],
)
def test_evaluate_settings_that_are_invalid_refused(defense, options, named):
    with pytest.raises(FeaturePathsError, match=named):
        defense.evaluate([(SOME, LABELS)], **FAST | options)


def test_evaluate_part_of_an_iterator_refused(defense):
    with pytest.raises(FeaturePathsError, match="iterator"):
        defense.evaluate(iter([(SOME, LABELS)]), **FAST, max_images=2)


def test_evaluate_defense_without_calibration_refused_before_images_are_read():
    def unread():
        raise AssertionError
        yield

    with pytest.raises(FeaturePathsError, match="calibrate"):
        fitted().evaluate(unread(), **FAST)


def test_evaluate_network_that_changed_refused():
    defense = calibrated()
    with torch.no_grad():
        defense.encoder.network.network.mix[0].mul_(2)
    with pytest.raises(FeaturePathsError, match=r"mix\.0 differs"):
        defense.evaluate([(SOME, LABELS)], **FAST)


# From a bare network


def test_evaluate_bare_network_same_as_fit_calibrate_and_evaluate():
    torch.manual_seed(0)
    result = evaluate(Layered(), loader(0), loader(1), loader(5, count=24), layers=LAYERS, **FAST)
    by_hand = FeaturePathDefense(Layered(), LAYERS).fit(loader(0))
    clean, _ = images(1)
    for centroids, expected in zip(result.defense.centroids, by_hand.centroids, strict=True):
        assert torch.equal(centroids, expected)
    examples = result.defense.evaluate(loader(1), **FAST).adversarial["apgd.max-loss"]  # the same attack on the network
    by_hand.calibrate(loader(1), list(zip(examples.split(20), images(1)[1].split(20), strict=True)))
    scores = np.concatenate([by_hand.score(batch).numpy() for batch in (clean, examples)])
    assert result.defense.calibration.threshold == pytest.approx(otsu(scores))
    assert list(result.defense.calibration.voting_layers) == list(by_hand.calibration.voting_layers)
    assert same(result, by_hand.evaluate(loader(5, count=24), **FAST))


def test_evaluate_bare_network_finds_layers():
    from featurepaths.networks.resnet import ResNet

    torch.manual_seed(0)
    network = ResNet("resnet18", 2, width=2)
    labels = torch.arange(24) % 2
    pixels = (labels.view(-1, 1, 1, 1) * 0.5 + 0.4 * torch.rand(24, 3, 16, 16)).clamp(0, 1)
    batches = [(pixels, labels)]
    options = FAST | {"iterations": 1, "n_targets": 0}
    result = evaluate(network, batches, batches, batches, pooling="mean", **options)
    assert len(result.defense.layers) > 2
    assert result.counts["n"] == 24
