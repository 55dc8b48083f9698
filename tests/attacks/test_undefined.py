"""Logits, losses and gradients that are not finite: they count as no success, and what can be attacked still is."""

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featurepaths.attacks.apgd import STOPPING_RULES, Budget, apgd
from featurepaths.attacks.norms import NORMS, random_start, size, steepest
from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.runner import Block, autopgd_records, records_of_examples, run_blocks
from featurepaths.attacks.undefined import report_undefined
from featurepaths.stages.attack import report
from featurepaths.store.hdf5 import RowWriter
from featurepaths.training.adversary import attack_batch
from tests.splits import Images


class Rooted(nn.Module):
    """Logits from the lengths of patches of 2x2 pixels: at a black patch they have no gradient."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(F.unfold(x, 2, stride=2).square().sum(1).sqrt())


class Half(nn.Module):
    """Two logits, +-(w x + b); every second pixel has a derivative of NaN; from `limit` of the first on no logits."""

    def __init__(self, weight, bias, limit=1.0, nan_gradient=True):
        super().__init__()
        self.weight, self.bias, self.limit, self.nan_gradient = weight, bias, limit, nan_gradient

    def forward(self, images):
        flat = images.flatten(1)
        score = flat @ self.weight + self.bias
        if self.nan_gradient:
            # the value 0, with the gradient inf * 0 = NaN
            score = score + (flat[:, 1::2] * 0).square().sum(dim=1).sqrt()
        score = torch.where(flat[:, 0] < self.limit, score, torch.nan)
        return torch.stack([score, -score], dim=1)


def attacked(network, images, labels, indices, budget):
    """The rows and records of the only block."""
    objective = misclassification(network, "ce")
    (records,) = run_blocks(lambda block: autopgd_records(block, objective, budget), Images(images, labels, indices))
    return records


def black_patches():
    """Grey images with a black half, and what `Rooted` says of them."""
    torch.manual_seed(0)
    network = Rooted().eval()
    images = np.zeros((64, 8, 8, 1), np.uint8)
    images[:, :4] = np.random.default_rng(0).integers(64, 192, (64, 4, 8, 1))
    with torch.no_grad():
        labels = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(dim=1).numpy()
    return network, images, labels


@pytest.mark.parametrize(("norm", "eps"), [("l2", 1e-4), ("linf", 1e-6)])
def test_image_with_undefined_gradient_is_no_success(norm, eps):
    network, images, labels = black_patches()
    # turned so that the network says 2: NaN has the label 0, and every class but 0 would count as fooled
    turned = nn.Sequential(network, Turned(labels))
    _, records = attacked(turned, images, np.full(64, 2), np.arange(64), Budget(eps, norm, iterations=4))
    assert records["clean_correct"].all()
    assert not records["success"].any()
    assert (records["vanished_steps"] >= 3).all()  # of 4; a random start may have no black patch
    assert records["undefined"].all()
    for stopping_rule in STOPPING_RULES:
        assert np.isfinite(records[f"{stopping_rule}/adversarial"]).all()
        assert np.isfinite(records[f"{stopping_rule}/loss"]).all()
        assert records[f"{stopping_rule}/norm"].max() <= eps * 1.02  # rounding near 0.5


class Turned(nn.Module):
    """Moves the class of each image to place 2."""

    def __init__(self, labels):
        super().__init__()
        self.labels = torch.from_numpy(labels)

    def forward(self, logits):
        places = (torch.arange(4)[None] + self.labels[:, None] - 2) % 4
        return logits.gather(1, places)


@pytest.mark.parametrize("norm", NORMS)
def test_apgd_with_undefined_pixels_reaches_optimum_of_the_others(norm):
    weight = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images = torch.full((3, 3, 2, 2), 0.5, dtype=torch.float64)
    start = random_start(images, np.arange(3), 0.2, norm, 0)
    start.flatten(1)[:, 1::2] = 0.5
    labels = torch.zeros(3, dtype=torch.long)
    search = apgd(misclassification(Half(weight, 9.0), "ce"), images, labels, start, Budget(0.2, norm, iterations=100))
    defined = weight * torch.tensor([1.0, 0.0]).repeat(6)
    dual = defined.norm(p=1 if norm == "linf" else 2)
    lowest = images[0].flatten() @ weight + 9.0 - 0.2 * dual
    loss = F.softplus(-2 * lowest).expand(3)
    torch.testing.assert_close(search.points["max-loss"].loss, loss, rtol=1e-3, atol=0)
    assert (search.vanished_steps == 100).all()
    assert search.undefined.all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bias", [0.55, 2.0])
def test_iterates_without_finite_logits_are_never_kept(norm, bias):
    """The first pixel alone decides, and from 0.6 on there are no logits: with 0.55 images are lost before that."""
    network = Half(-torch.eye(12)[0], bias, limit=0.6, nan_gradient=False)
    images = torch.full((20, 3, 2, 2), 0.5)
    labels = torch.zeros(20, dtype=torch.long)
    start = random_start(images, np.arange(20), 0.2, norm, 0)
    start[::2, 0, 0, 0] = 0.65
    search = apgd(misclassification(network, "ce"), images, labels, start, Budget(0.2, norm, iterations=30))
    for points in search.points.values():
        assert (points.adversarial[:, 0, 0, 0] < 0.6).all()
        assert (points.fooled == (bias < 0.6)).all()
        assert points.loss.isfinite().all()
        assert (points.fooled == (network(points.adversarial).argmax(dim=1) == 1)).all()
    assert search.undefined.all()
    assert (search.vanished_steps > 0).all()
    best = search.points["max-loss"].adversarial[:, 0, 0, 0]
    assert (best > 0.59).all(), "the search continues next to the brink"


def test_clean_image_without_finite_logits_is_not_correct():
    images = np.full((3, 2, 2, 3), 128, np.uint8)
    images[1, 0, 0, 0] = 255
    network = Half(torch.zeros(12), 1.0, limit=0.9, nan_gradient=False)
    _, records = attacked(network, images, np.zeros(3, int), np.arange(3), Budget(0.01, iterations=2))
    assert records["clean_correct"].tolist() == [True, False, True]
    assert records["undefined"].tolist() == [False, True, False]
    assert not records["success"].any()
    assert np.isfinite(records["max-loss/adversarial"]).all()


def test_point_where_reference_is_undefined_is_not_kept():
    weight = -torch.eye(12)[0]
    search_model, exact = (Half(weight, 0.55, limit, nan_gradient=False) for limit in (2.0, 0.53))
    images = torch.full((8, 3, 2, 2), 0.5)
    labels = torch.zeros(8, dtype=torch.long)
    start = random_start(images, np.arange(8), 0.2, "linf", 0)
    search = apgd(
        misclassification(search_model, "ce"),
        images,
        labels,
        start,
        Budget(0.2, iterations=10),
        reference=misclassification(exact, "ce"),
    )
    for points in search.points.values():
        assert not points.fooled.any()
        assert (points.adversarial[:, 0, 0, 0] < 0.53).all()
        assert points.loss.isfinite().all()
    assert search.undefined.all()


@pytest.mark.parametrize("label", [0, 1])
def test_library_example_without_finite_logits_does_not_count(label):
    clean = torch.full((2, 3, 2, 2), 0.5)
    adversarial = clean + 0.1
    adversarial[1, 0, 0, 0] = 0.95
    network = Half(torch.zeros(12), 1.0 - 2 * label, limit=0.9, nan_gradient=False)
    labels = torch.full((2,), label)
    block = Block(clean, labels, np.arange(2), 2, slice(0, 2))
    records = records_of_examples(block, adversarial, misclassification(network, "ce"), "linf", queries=1)
    assert records["clean_correct"].all()
    assert not records["success"].any()
    assert records["undefined"].tolist() == [False, True]
    assert (records["returned/adversarial"][1] == clean[1].numpy()).all()
    assert (records["returned/adversarial"][0] == adversarial[0].numpy()).all()
    assert float(records["returned/norm"][1]) == 0
    assert np.isfinite(records["returned/loss"]).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_steepest_direction_at_any_scale_has_unit_norm(norm, scale):
    gradient = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    direction = steepest(scale * gradient, norm)
    torch.testing.assert_close(direction, steepest(gradient, norm))
    torch.testing.assert_close(size(direction, norm), torch.ones(5))


def test_steepest_direction_ignores_nan():
    gradient = torch.tensor([[3.0, torch.nan, -4.0], [1.0, -torch.inf, torch.nan], [torch.nan, torch.nan, 0.0]])
    expected = torch.tensor([[0.6, 0.0, -0.8], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(steepest(gradient, "l2"), expected)
    assert steepest(gradient, "linf").tolist() == [[1, 0, -1], [1, -1, 0], [0, 0, 0]]


def test_training_attack_with_partial_gradient_moves_the_other_pixels():
    network = Half(torch.ones(12), 0.0)
    images = torch.full((2, 3, 2, 2), 0.5)
    adversary = {"method": "pgd", "eps": 0.1, "step": 0.1, "iterations": 4}
    labels = torch.zeros(2, dtype=torch.long)
    adversarial = attack_batch(network, images, labels, adversary, torch.Generator().manual_seed(0))
    assert adversarial.isfinite().all()
    torch.testing.assert_close(adversarial.flatten(1)[:, ::2], torch.full((2, 6), 0.4))


def test_attack_log_names_undefined_images(capsys):
    network, images, labels = black_patches()
    rows, records = attacked(network, images, labels, np.arange(100, 164), Budget(1e-4, "l2", iterations=2))
    with h5py.File("log", "w", driver="core", backing_store=False) as file:
        RowWriter(file, slice(0, 64), {"labels": labels, "index": np.arange(100, 164)})(rows, records)
        report(file)
        report_undefined(file["index"][:], file["undefined"][:])
    printed = capsys.readouterr().out
    assert "100.00%" in printed
    assert printed.count("100.00%") == 3
    assert "64 images (100, 101, " in printed


def test_report_undefined_names_images(capsys):
    report_undefined(np.array([3, 5, 9]), np.array([True, False, True]))
    assert "2 images (3, 9)" in capsys.readouterr().out
    report_undefined(np.array([3, 5, 9]), np.zeros(3, bool))
    assert not capsys.readouterr().out
