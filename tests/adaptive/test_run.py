"""All attacks on a planted defence, their worst case, and the controls."""

import io
import math
import sys
from functools import partial

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from featurepaths.adaptive import worst_case
from featurepaths.adaptive.controls import control_records, summarise
from featurepaths.adaptive.objectives import OBJECTIVES, adaptive_objective
from featurepaths.adaptive.run import adaptive_records
from featurepaths.adaptive.worst_case import PerImageWorstCase, Target
from featurepaths.attacks.apgd import Budget, apgd
from featurepaths.attacks.norms import random_start
from featurepaths.attacks.runner import Block, run_blocks
from featurepaths.defense.recognition import Calibration
from featurepaths.experiment.config.evaluation import AdaptiveSearch, Controls
from featurepaths.experiment.run import Run
from featurepaths.experiment.searches import SearchKind, searches
from featurepaths.library.defense import FeaturePathDefense
from featurepaths.report.results import Result
from featurepaths.report.tables.adaptive import controls_table
from featurepaths.runtime.blocks import blocks
from featurepaths.statistics.worst_case import count_evaded, count_left, summarise_attacks
from featurepaths.store.hdf5 import RowWriter
from tests.planted import ANGLE, TO_EVADE, TO_FOOL, X, Y, halves, halves_defense
from tests.splits import Images, joined

COUNT = 70  # two blocks


IMAGES = Images(halves(COUNT), np.zeros(COUNT, np.int64), np.arange(COUNT))

GOALS_WITH_GRADIENT = [
    objective for objective in OBJECTIVES if objective != "misvote"
]  # the vote of these defences is constant


def attack(
    defense, eps, *, detectors=(), rows=None, n_targets=1, restarts=2, oblivious=None, objectives=OBJECTIVES,
    together=1, **options,
):  # fmt: skip
    """The records of all attacks, as an artefact holds them."""
    target = Target(defense, defense, dict.fromkeys(detectors, (defense.detector.score, 0.05)))
    search = partial(
        adaptive_records, target=target, oblivious=oblivious or {}, budget=Budget(eps),
        search=AdaptiveSearch(
            objectives=list(objectives), losses=["ce"], n_targets=n_targets, restarts=restarts, **options
        ),
    )  # fmt: skip
    file = h5py.File(io.BytesIO(), "w")
    write = RowWriter(file, slice(0, COUNT), {"labels": IMAGES.labels, "index": IMAGES.indices})
    for part, records in run_blocks(search, IMAGES, rows, together=together):
        write(part, records)
    return file


@pytest.mark.parametrize(
    ("eps", "network", "defended"),
    [
        (0.97 * TO_FOOL, COUNT, COUNT),
        (1.03 * TO_FOOL, 0, COUNT),
        (0.98 * TO_EVADE, 0, COUNT),
        (1.02 * TO_EVADE, 0, 0),
    ],
)
def test_worst_case_at_known_radii_defeats_network_then_defence(eps, network, defended):
    file = attack(halves_defense(), eps, n_targets=0, restarts=1)
    assert count_left(file, "apgd", "undefended") == {
        "clean_correct": COUNT, "oblivious_correct": {}, "adaptive_correct": network,
    }  # fmt: skip
    assert count_left(file, "apgd", "defended")["adaptive_correct"] == defended


def test_restarts_and_targets_attack_only_images_that_resist():
    file = attack(halves_defense(), 0.98 * TO_EVADE, skip_defeated=False)
    summaries = {attack["name"]: attack for attack in summarise_attacks(file["attacks"], file["labels"][:], "apgd")}
    assert summaries["evade.ce"]["attacked"] == summaries["evade.ce.restart1"]["attacked"] == COUNT
    assert summaries["evade.ce.targeted"]["attacked"] == COUNT
    assert summaries["misclassify.ce"] == {
        "name": "misclassify.ce", "objective": "misclassify", "loss": "ce", "targeted": False, "threat": "oblivious",
        "attacked": COUNT, "defended_correct": COUNT, "network_correct": 0, "vanished": 0, "n_queries": 21,
    }  # fmt: skip
    assert summaries["misclassify.ce.restart1"]["attacked"] == 0
    assert summaries["misclassify.ce.restart1"]["n_queries"] == 0
    fallen = attack(halves_defense(), 1.02 * TO_EVADE)
    summaries = {attack["name"]: attack for attack in summarise_attacks(fallen["attacks"], fallen["labels"][:], "apgd")}
    assert summaries["evade.ce.targeted"]["attacked"] == 0


@pytest.mark.parametrize("eps", [0.98 * TO_EVADE, 1.02 * TO_EVADE])
def test_skip_defeated_leaves_worst_case_unchanged(eps):
    every, few = (attack(halves_defense(), eps, skip_defeated=only) for only in (False, True))
    for name in ("undefended/adaptive", "defended/adaptive"):
        np.testing.assert_array_equal(every[name], few[name])
    attacked = [file["attacks/orthogonal.ce/attacked"][:].sum() for file in (every, few)]
    assert attacked == [COUNT, COUNT if eps < TO_EVADE else 0]


def test_search_for_evasion_attacks_only_fallen_images_that_are_flagged():
    target = Target(halves_defense(), halves_defense())
    worst_case = PerImageWorstCase(target, Block.of(IMAGES, slice(0, 8)))
    worst_case.defended = np.arange(8) < 4  # the last four fell
    worst_case.evading = np.array([-np.inf, 2, -np.inf, 2] * 2)  # every other one to an example above the threshold
    assert worst_case.standing(SearchKind("evade", "ce")).tolist() == [0, 1, 2, 3]
    assert worst_case.standing(SearchKind("evade", "ce", evasion=True)).tolist() == [4, 6]
    kinds = list(map(str, searches(AdaptiveSearch(n_targets=0), 10)))
    assert [kind for kind in kinds if kind.endswith(".evasion")] == [
        f"{objective}.ce.evasion" for objective in OBJECTIVES if objective != "misvote"
    ]
    assert not any("evasion" in str(kind) for kind in searches(AdaptiveSearch(skip_defeated=False), 10))


def test_oblivious_examples_count_in_worst_case():
    beyond = np.zeros((COUNT, 1, 8, 8), np.float32)
    beyond[::2, :, :, 4:] = 0.5  # every other one far beyond the flagged angles, the rest black: class 0, unflagged
    beyond[1::2, :, :, :4] = 0.5
    file = attack(halves_defense(), 0.1, n_targets=0, restarts=1, oblivious={"apgd.max-loss": beyond})
    left = count_left(file, "apgd", "defended")
    assert left == {
        "clean_correct": COUNT,
        "oblivious_correct": {"max-loss": COUNT // 2},
        "adaptive_correct": COUNT // 2,
    }
    np.testing.assert_array_equal(file["worst/adversarial"][::2], beyond[::2])
    assert count_evaded(file, "apgd", "otsu", 0.9) == {
        "threshold_method": "otsu", "threshold": 0.9, "flagged_clean": 0, "oblivious_evaded": {"max-loss": COUNT // 2},
        "adaptive_evaded": COUNT // 2,
    }  # fmt: skip


def test_detector_attack_reaches_known_best_score():
    eps = 1.03 * TO_FOOL
    file = attack(halves_defense(), eps, detectors=["itself"], n_targets=0, restarts=1)
    best = (Y + eps) / math.hypot(X - eps, Y + eps)
    assert file["detectors/itself/clean_score"][:] == pytest.approx(math.cos(ANGLE), abs=2e-3)
    assert file["detectors/itself/score"][:] == pytest.approx(best, abs=5e-3)
    assert (file["detectors/itself/network_prediction"][:] == 1).all()
    assert count_evaded(file, "apgd", "low", best - 0.01)["adaptive_evaded"] == COUNT
    assert count_evaded(file, "apgd", "high", best + 0.01)["adaptive_evaded"] == 0


def test_oblivious_example_replaces_worse_detector_attack():
    """Far outside of the ball, but nobody asks: one half scores 1 and is wrong, the other scores more and is right."""
    given = np.zeros((COUNT, 1, 8, 8), np.float32)
    given[::2, :, :, 4:] = 0.5  # along the other axis
    given[1::2, :, :, :4] = 0.5  # along its own
    eps = 1.03 * TO_FOOL
    options = {"detectors": ["itself"], "n_targets": 0, "restarts": 1}
    file = attack(halves_defense(), eps, oblivious={"apgd.max-loss": given}, **options)
    alone = attack(halves_defense(), eps, **options)
    assert file["detectors/itself/score"][::2] == pytest.approx(1)
    assert (file["detectors/itself/network_prediction"][:] == 1).all()
    np.testing.assert_array_equal(file["detectors/itself/score"][1::2], alone["detectors/itself/score"][1::2])


@pytest.mark.parametrize("eps", [0.98 * TO_EVADE, 1.02 * TO_EVADE])
def test_adaptive_shard_and_block_attacked_alone_are_bit_identical(eps):
    options = {"n_targets": 1, "restarts": 1, "detectors": ["itself"]}
    whole = attack(halves_defense(), eps, together=2, **options)
    alone = attack(halves_defense(), eps, **options)
    second = attack(halves_defense(), eps, rows=blocks(COUNT, (2, 2)), **options)
    names = []
    whole.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    for name in names:
        np.testing.assert_array_equal(whole[name], alone[name])
        np.testing.assert_array_equal(whole[name][64:], second[name][64:])


def controls_of(defense, eps, objectives, transferred=None, suite=None, n_queries=200):
    target = Target(defense, defense)
    controls = Controls(eps_multiples=[0, 1, 3], iterations=[5, 10, 20], n_queries=n_queries, n_targets=1)
    search = AdaptiveSearch(objectives=objectives, losses=["ce"], n_targets=0)
    file = attack(defense, eps, n_targets=0, restarts=1, objectives=objectives)
    suite = suite or {side: file[f"{side}/adaptive"][:] for side in ("undefended", "defended")}
    options = {"budget": Budget(eps), "search": search, "controls": controls}
    attempt = partial(control_records, target=target, suite=suite, transferred=transferred, **options)
    records = joined(run_blocks(attempt, IMAGES))
    summaries = summarise_attacks(file["attacks"], file["labels"][:], "apgd")
    source = None if transferred is None else "other-standard-s0"
    return summarise(records, suite["defended"], summaries, controls, eps, source)


def test_controls_of_honest_defence_pass():
    content = controls_of(
        halves_defense(), 0.3, GOALS_WITH_GRADIENT, transferred=np.zeros((COUNT, 1, 8, 8), np.float32)
    )
    assert {check["check"]: check["passed"] for check in content["checks"]} == {
        "accuracy at eps 0 equals the clean accuracy": True,
        "accuracy falls to 0 as eps grows": True,
        "more iterations, restarts and targets find no more": True,
        "the black-box attack finds nothing that gradients missed": True,
        "gradients do not vanish": True,
        "examples of another network find nothing that gradients missed": True,
    }
    assert [at["defended_correct"] for at in content["eps"]] == [COUNT, COUNT, 0]
    assert [at["undefended_correct"] for at in content["eps"]] == [COUNT, 0, 0]
    assert [at["defended_correct"] for at in content["budget"]] == [COUNT] * 5
    clean = content["false_positives"][0]
    assert (clean["corruption"], clean["flagged"], clean["defended_correct"]) == ("clean", 0, COUNT)


def test_controls_without_queries_need_no_library_and_report_no_black_box(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    content = controls_of(halves_defense(), 0.3, ["evade"], n_queries=0)
    assert content["black_box"]["n_queries"] == 0
    assert not [check for check in content["checks"] if "black-box" in check["check"]]
    result = Result(Run("small", "standard", 0), content, "flatten")
    assert "without gradients" not in set(controls_table([result])["control"])


def test_control_of_budget_fails_on_too_weak_suite():
    nothing_found = dict.fromkeys(("undefended", "defended"), np.ones(COUNT, bool))
    content = controls_of(halves_defense(), 1.02 * TO_EVADE, ["evade"], suite=nothing_found)
    passed = {check["check"]: check["passed"] for check in content["checks"]}
    assert not passed["more iterations, restarts and targets find no more"]
    assert content["greatest_budget"] == {"n": COUNT, "defended_correct": 0, "missed": COUNT}


def test_controls_of_masked_gradients_fail():
    """A defence that rounds its input to two levels has no gradient; a search without gradients wins all the same."""
    content = controls_of(halves_defense(levels=2), 0.42, list(OBJECTIVES))
    passed = {check["check"]: check["passed"] for check in content["checks"]}
    assert not passed["gradients do not vanish"]
    assert not passed["the black-box attack finds nothing that gradients missed"]
    assert content["vanished"]["images"] > 0
    assert content["black_box"]["missed"] > 0


@pytest.mark.parametrize(
    ("losses", "classes", "untargeted", "targeted"),
    [(["ce", "dlr"], 2, {"ce"}, {("ce", 1)}), (["dlr", "ce"], 3, {"ce", "dlr"}, {("ce", 1), ("ce", 2)}),
     (["dlr"], 3, {"dlr"}, set()), (["dlr", "ce"], 4, {"ce", "dlr"}, {("dlr", rank) for rank in (1, 2, 3)})],
)  # fmt: skip
def test_searches_with_few_classes_leave_out_impossible_ones(losses, classes, untargeted, targeted):
    kinds = list(searches(AdaptiveSearch(objectives=["evade"], losses=losses, restarts=2), classes))
    assert {kind.loss for kind in kinds if kind.rank == 0} == untargeted
    assert {(kind.loss, kind.rank) for kind in kinds if kind.rank > 0} == targeted


class Few(nn.Module):
    """Two or three classes, each with a separate direction in the plane of two pixels."""

    def __init__(self, classes):
        super().__init__()
        self.pixels = nn.Identity()
        angles = torch.arange(classes) * (math.pi / 4)
        self.directions = nn.Parameter(torch.stack([angles.cos(), angles.sin()], dim=1))

    def forward(self, images):
        return 10 * self.pixels(images).flatten(1) @ self.directions.T


@pytest.mark.parametrize("classes", [2, 3])
def test_targets_with_few_classes_are_all_wrong_classes(classes, monkeypatch):
    network = Few(classes)
    calibration = Calibration([1], np.ones(1), 0.1, [1], np.ones(1))
    defense = FeaturePathDefense(network, ["pixels"]).freeze([network.directions.detach()], calibration)
    aimed = []

    def recorded_objective(defense, name, loss, targets=None, evasion=False):
        aimed.append((loss, targets))
        return adaptive_objective(defense, name, loss, targets, evasion)

    monkeypatch.setattr(worst_case, "adaptive_objective", recorded_objective)
    images = np.array([[120, 10], [80, 80], [10, 120]], np.uint8).reshape(3, 1, 2, 1)[[0, 1, 2][:classes]]
    for label in range(classes):
        aimed.clear()
        search = partial(
            adaptive_records, target=Target(defense, defense), oblivious={}, budget=Budget(0.001, iterations=2),
            search=AdaptiveSearch(objectives=["evade"]),
        )  # fmt: skip
        ((_, records),) = run_blocks(search, Images(images[[label]], np.array([label]), np.arange(1)))
        assert ("attacks/evade.dlr/attacked" in records) == (classes > 2)
        targets = [(loss, classes_aimed.tolist()) for loss, classes_aimed in aimed if classes_aimed is not None]
        assert targets, "the test needs images that stand"
        assert {loss for loss, _ in targets} == {"ce"}
        assert {each for _, classes_aimed in targets for each in classes_aimed} == set(range(classes)) - {label}


@pytest.mark.parametrize("objective", ["evade", "match-features"])
def test_search_result_of_image_is_same_whichever_others_end(objective):
    """Bit by bit on a CPU: alone among images that end early, among ones that stay, and without ending at all."""
    defense = halves_defense()
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (64,), generator=generator)  # half of the images are misclassified from the start
    block = Block.of(Images(halves(64), labels.numpy(), np.arange(64)), slice(0, 64))
    budget = Budget(1.02 * TO_EVADE)
    target = Target(defense, defense)
    against = partial(adaptive_objective, name=objective, loss="ce")
    ending = target.search(block, budget, against, stop_at_success=True)
    own = np.flatnonzero(labels == 0)
    among_its_like = target.search(block.take(own), budget, against, stop_at_success=True)
    start = random_start(block.clean, block.indices, budget.eps, budget.norm, budget.seed)
    whole = apgd(against(defense), block.clean, block.labels, start, budget, stopping_rules=["first-success"])
    queries = torch.where(whole.first_fooled_step >= 0, whole.first_fooled_step + 1, 21).int()
    for search, rows in ((ending, slice(None)), (among_its_like, own)):
        points, expected = search.points["first-success"], whole.points["first-success"]
        assert torch.equal(points.adversarial, expected.adversarial[rows])
        assert torch.equal(points.loss, expected.loss[rows])
        assert torch.equal(search.first_fooled_step, whole.first_fooled_step[rows])
        assert torch.equal(search.queries, queries[rows])
    assert (whole.first_fooled_step[labels == 1] >= 0).sum() > 0
