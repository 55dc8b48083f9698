"""Attacks on a planted defence whose network has no finite logits or gradient at some images."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.adaptive.controls import control_records
from featurepaths.adaptive.objectives import adaptive_objective, detector_objective
from featurepaths.adaptive.run import adaptive_records
from featurepaths.adaptive.worst_case import Target
from featurepaths.attacks.apgd import Budget
from featurepaths.attacks.runner import run_blocks
from featurepaths.defense.recognition import Calibration
from featurepaths.detectors.confidence import Confidence, Energy
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.evaluation import AdaptiveSearch, Controls
from featurepaths.library.defense import FeaturePathDefense
from featurepaths.statistics.worst_case import summarise_attacks
from tests.planted import CENTROIDS, FLAGGED_FROM, TO_EVADE, Halves, X, halves
from tests.splits import Images

COUNT = 5
IMAGES = Images(halves(COUNT), np.zeros(COUNT, np.int64), np.arange(COUNT))


class Brink(nn.Module):
    """`Halves` without logits where the left half is not between `low` and `high`, and with pixels of NaN gradient."""

    def __init__(self, low=-1.0, high=2.0, nan_gradient=False):
        super().__init__()
        self.halves, self.low, self.high, self.nan_gradient = Halves(), low, high, nan_gradient

    def forward(self, images):
        if self.nan_gradient:
            top = images[:, :, :1]
            # the value 0, with the gradient inf * 0 = NaN, in the upper row
            images = images + (top * 0).square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
        logits = self.halves(images)
        left = images[..., :4].mean(dim=(1, 2, 3)).unsqueeze(1)
        return torch.where((left > self.low) & (left < self.high), logits, torch.nan)


def defense(*arguments, **options):
    calibration = Calibration([1], np.ones(1), np.cos(FLAGGED_FROM), [2], np.ones(1))
    network = Brink(*arguments, **options)
    module = FeaturePathDefense(network, ["halves.plane.pixels", "halves.plane.constant"])
    return module.freeze([CENTROIDS, CENTROIDS], calibration)


def attack(planted, eps, oblivious=None):
    target = Target(planted, planted, {"itself": (planted.detector.score, 0.05)})
    search = partial(
        adaptive_records, target=target, oblivious=oblivious or {}, budget=Budget(eps),
        search=AdaptiveSearch(n_targets=1, restarts=2, skip_defeated=False),
    )  # fmt: skip
    ((_, records),) = run_blocks(search, IMAGES)
    return records


def test_examples_without_finite_logits_are_no_success():
    """All that fool the network, or evade, have no logits: unlike in the same ball without the brink, all resists."""
    records = attack(defense(), 1.05 * TO_EVADE)
    assert not records["defended/adaptive"].any()
    assert not records["undefined"].any()
    records = attack(defense(low=X - 0.02), 1.05 * TO_EVADE)
    assert records["defended/adaptive"].all()
    assert records["undefined"].all()
    assert np.isneginf(records["evading_score"]).all()
    for name, values in records.items():
        if name.rpartition("/")[2] in ("label", "network_prediction"):
            attacked = records.get(f"{name.rpartition('/')[0]}/attacked", np.ones(COUNT, bool))
            assert (values[attacked] == 0).all(), name
    assert np.isfinite(records["worst/adversarial"]).all()


def test_oblivious_example_without_finite_logits_does_not_count():
    bright = np.full((COUNT, 1, 8, 8), 0.9, np.float32)
    records = attack(defense(high=0.7), 0.01, {"apgd.max-loss": bright})
    assert (records["attacks/apgd.max-loss/network_prediction"] == 0).all()
    assert records["undefined"].all()
    assert records["undefended/adaptive"].all()


def test_defence_with_partial_gradient_falls_to_remaining_pixels():
    """Seven of eight rows can be moved, so that the radius is 8/7 as great; `orthogonal` projects them alone."""
    records = attack(defense(nan_gradient=True), 1.05 * 8 / 7 * TO_EVADE)
    assert not records["defended/adaptive"].any()
    assert records["undefined"].all()
    assert (records["attacks/evade.ce/vanished_steps"] == 20).all()


@pytest.mark.parametrize("objective", ["selective", "orthogonal"])
def test_alternating_step_is_undefined_only_where_a_gradient_is(objective):
    planted, plain = defense(nan_gradient=True), defense()
    images = (torch.from_numpy(halves(1)).permute(0, 3, 1, 2) / 255).requires_grad_()
    images.detach()[..., 4:] += 0.3
    labels = torch.zeros(1, dtype=torch.long)
    steps = []
    for each in (planted, plain):
        loss, _ = adaptive_objective(each, objective, "ce")(images, labels)
        assert loss.isfinite().all()
        steps.append(torch.autograd.grad(loss.sum(), images)[0])
    assert steps[0][:, :, :1].isnan().all()
    torch.testing.assert_close(steps[0][:, :, 1:], steps[1][:, :, 1:])


def test_clean_image_without_finite_logits_is_refused_by_index():
    with pytest.raises(FeaturePathsError, match=r"5 images \(0, 1, 2, 3, 4\)"):
        attack(defense(low=0.9), 0.1)
    planted = defense(low=0.9)
    images = torch.from_numpy(halves(1)).permute(0, 3, 1, 2) / 255
    loss, fooled = adaptive_objective(planted, "misclassify", "ce")(images, torch.ones(1, dtype=torch.long))
    assert loss.isnan().all()
    assert not fooled.any()
    assert planted.outputs_and_finite(images)[0].logits.isnan().all()


@pytest.mark.parametrize("rival", [Energy(), Confidence()], ids=lambda rival: rival.name)
def test_detector_without_finite_logits_is_not_evaded(rival):
    planted = defense(low=0.9)
    images = torch.from_numpy(halves(1)).permute(0, 3, 1, 2) / 255
    loss, fooled = detector_objective(planted, rival, 1.0)(images, torch.ones(1, dtype=torch.long))
    assert loss.isnan().all()
    assert not fooled.any()


def test_corruption_without_finite_logits_is_wrong_and_not_flagged():
    planted = defense(high=0.7)
    attempt = partial(
        control_records, target=Target(planted, planted), transferred=None, budget=Budget(0.01, iterations=3),
        suite=dict.fromkeys(("undefended", "defended"), np.ones(len(IMAGES.labels), bool)),
        search=AdaptiveSearch(objectives=["evade"], losses=["ce"]),
        controls=Controls(eps_multiples=[0, 1], iterations=[3], restarts=0, n_targets=0, n_queries=10),
    )  # fmt: skip
    ((_, records),) = run_blocks(attempt, IMAGES)
    for key in ("flagged", "undefended", "defended"):
        assert not records[f"false_positives/brightness/x 1.3/{key}"].any()
    assert records["false_positives/clean/-/defended"].all()
    assert records["undefined"].all()


def test_undefined_steps_count_as_vanished_gradients():
    records = attack(defense(nan_gradient=True), 0.01)
    attacks: dict[str, dict] = {}
    for name, values in records.items():
        if name.startswith("attacks/"):
            _, one, key = name.split("/")
            attacks.setdefault(one, {})[key] = values
    summaries = summarise_attacks(attacks, np.zeros(COUNT, np.int64), "apgd")
    assert all(each["vanished"] == each["attacked"] == COUNT for each in summaries)
