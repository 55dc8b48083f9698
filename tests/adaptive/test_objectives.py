"""Attacks on defences whose weakest point is known."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from featurepaths.adaptive.objectives import (
    OBJECTIVES,
    Aim,
    adaptive_objective,
    detector_objective,
)
from featurepaths.attacks.apgd import Budget, apgd
from featurepaths.attacks.losses import dlr
from featurepaths.attacks.norms import random_start
from featurepaths.errors import FeaturePathsError
from tests.planted import ANGLE, FLAGGED_TO, LENGTH, Plane, defense, distance, images

LABELS = torch.zeros(3, dtype=torch.long)


def attack(objective, eps, iterations=100):
    clean = images()
    start = random_start(clean, np.arange(3), eps, "l2", 0)
    search = apgd(
        objective, clean, LABELS, start, Budget(eps, "l2", iterations=iterations), stopping_rules=["max-loss"]
    )
    return search.points["max-loss"]


@pytest.mark.parametrize("targets", [None, torch.ones(3, dtype=torch.long)], ids=["untargeted", "targeted"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("objective", ["evade", "match-features", "selective", "orthogonal"])
def test_adaptive_search_finds_nearest_evasion_and_none_nearer(objective, loss, targets):
    """The vote is always right, so an example must be beyond the flagged angles: a ray at a known distance."""
    needed = distance(FLAGGED_TO)
    attacker = adaptive_objective(defense(Plane(), [2]), objective, loss, targets)
    points = attack(attacker, 1.02 * needed)
    assert points.fooled.all()
    x, y = points.adversarial.view(3, 2).T
    assert (torch.atan2(y, x) >= FLAGGED_TO - 1e-6).all()
    assert not attack(attacker, 0.99 * needed).fooled.any()


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_misvote_finds_nearest_wrong_vote_and_none_nearer(loss):
    """The network is always right, so an example must be flagged and nearer to the other axis: beyond 45 degrees."""
    needed = distance(math.radians(45))
    attacker = adaptive_objective(defense(Plane(always_right=True), [1]), "misvote", loss)
    assert attack(attacker, 1.02 * needed).fooled.all()
    assert not attack(attacker, 0.99 * needed).fooled.any()


def test_misclassify_finds_the_networks_boundary():
    needed = distance(math.radians(45))
    attacker = adaptive_objective(defense(Plane(), [2]), "misclassify", "ce")
    assert attack(attacker, 1.02 * needed).fooled.all()
    assert not attack(attacker, 0.99 * needed).fooled.any()


@pytest.mark.parametrize("eps", [0.4, 0.5])
def test_detector_objective_finds_greatest_score_of_misclassified_image(eps):
    """The farthest angle within the ball has the greatest cosine to the other axis."""
    planted = defense(Plane(), [2])
    points = attack(detector_objective(planted, planted.detector.score, 0.05), eps, iterations=200)
    best = math.sin(ANGLE + math.asin(eps / LENGTH))
    assert points.fooled.all()
    with torch.no_grad():
        score = planted.score(points.adversarial)
    assert (score <= best + 1e-6).all()
    assert score.numpy() == pytest.approx(best, abs=0.01)


def test_criterion_of_defence_objectives_is_the_whole_decision():
    planted = defense(Plane(), [2])
    angles = torch.deg2rad(torch.tensor([10.0, 50.0, 80.0]))
    batch = (LENGTH * torch.stack([angles.cos(), angles.sin()], dim=1)).view(3, 1, 1, 2)
    decision = planted.decide(planted.model_outputs(batch))
    assert decision.network_prediction.tolist() == [0, 1, 1]
    assert decision.flagged.tolist() == [False, True, False]
    assert decision.vote.tolist() == [0, 0, 0]
    assert decision.prediction.tolist() == [0, 0, 1]
    for objective in OBJECTIVES:
        assert adaptive_objective(planted, objective, "ce")(batch, LABELS)[1].tolist() == [False, False, True]
    assert adaptive_objective(planted, "misclassify", "ce")(batch, LABELS)[1].tolist() == [False, True, True]


def test_misclassification_loss_is_log_odds_until_misclassified():
    logits = torch.randn(500, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    labels = torch.arange(500) % 6
    targets = (labels + 1) % 6
    p = F.softmax(logits, dim=1)
    rows = torch.arange(500)
    for aimed_at, wanted in ((None, 1 - p[rows, labels]), (targets, p[rows, targets])):
        loss = Aim(labels, aimed_at, "ce").misclassification(logits)
        most = loss.max()
        assert most.item() == pytest.approx(0.1 + (math.log(5) if aimed_at is None else 0))
        below = loss < most
        assert below.any()
        torch.testing.assert_close(loss[below], (wanted / (1 - wanted)).log()[below])
        named = logits.argmax(dim=1)[~below]
        assert (named != labels[~below]).all() if aimed_at is None else (named == targets[~below]).all()
    torch.testing.assert_close(
        Aim(labels, None, "dlr").misclassification(logits), (20 * dlr(logits, labels)).clamp_max(0.1)
    )
    torch.testing.assert_close(
        Aim(labels, None, "dlr").misclassification(logits, saturate=False), 20 * dlr(logits, labels)
    )


def test_targeted_dlr_by_hand_equals_eq_7():
    logits = torch.tensor([[4.0, 1.0, 3.0, 0.0, 2.0]])
    # -(4 - 3) / (4 - (2 + 1) / 2), in units of 1/20
    loss = Aim(torch.tensor([0]), torch.tensor([2]), "dlr").misclassification(logits)
    assert loss.tolist() == pytest.approx([-20 / 2.5])
    with pytest.raises(FeaturePathsError, match="n_targets: 0"):
        Aim(torch.tensor([0]), torch.tensor([2]), "dlr").misclassification(logits[:, :3])


@pytest.mark.parametrize("objective", ["selective", "orthogonal"])
def test_alternating_step_follows_one_condition_and_is_orthogonal_to_the_other(objective):
    """Until the network is wrong the step is for that, then for the score; `orthogonal` leaves the other as it is."""
    planted = defense(Plane(), [2])
    for degrees, part in ((12.0, "wrong"), (60.0, "above")):
        angle = math.radians(degrees)
        batch = (LENGTH * torch.tensor([math.cos(angle), math.sin(angle)])).view(1, 1, 1, 2).requires_grad_()
        label = torch.zeros(1, dtype=torch.long)
        loss, _ = adaptive_objective(planted, objective, "ce")(batch, label)
        (step,) = torch.autograd.grad(loss.sum(), batch)
        outputs = planted.model_outputs(batch)
        unit = 0.35 * outputs.similarity[:, 0].detach().std(dim=1)
        missing = ((planted.detector.score(outputs) - planted.calibration.threshold) / unit).clamp_max(0.1)
        assert loss.item() == pytest.approx((Aim(label, None, "ce").misclassification(outputs.logits) + missing).item())
        parts = {
            "wrong": Aim(label, None, "ce").misclassification(outputs.logits, saturate=False),
            "above": planted.detector.score(outputs),
        }
        own = torch.autograd.grad(parts.pop(part).sum(), batch, retain_graph=True)[0].flatten()
        other = torch.autograd.grad(next(iter(parts.values())).sum(), batch)[0].flatten()
        step = step.flatten()
        if objective == "selective":
            torch.testing.assert_close(step, own)
        else:
            assert (step @ other).item() == pytest.approx(0, abs=1e-5 * step.norm().item() * other.norm().item())
            torch.testing.assert_close(step, own - (own @ other) / (other @ other) * other, rtol=1e-3, atol=1e-5)
