"""What the plan tells an attack's jobs."""

import copy

import pytest
import yaml

from featurepaths.config import read_experiment
from featurepaths.plan import Plan
from tests.conftest import ROOT, TINY


def plan_of(attacks, **changes):
    return Plan(read_experiment({**copy.deepcopy(TINY), "attacks": {**TINY["attacks"], **attacks}, **changes}))


def settings_of(attack, seed=0):
    return plan_of({"x": attack}, seeds=[seed]).attack(f"small-standard-s{seed}", "test", "x").settings


@pytest.mark.parametrize("attack", [{"eps": "1/10"}, {"method": "fgsm", "eps": "1/10"}])
def test_an_attack_seed_is_added_to_the_training_seed(attack):
    assert settings_of(attack, 3) == settings_of({**attack, "seed": 0}, 3)
    assert settings_of(attack, 3)["seed"] == 3
    assert settings_of({**attack, "seed": 4}, 3)["seed"] == 7
    assert {**settings_of({**attack, "seed": 4}, 3), "seed": 3} == settings_of(attack, 3)


def test_autopgd_is_told_what_it_always_was():
    assert settings_of({"eps": "8/255", "keep": ["max-loss", "first-success"]}, 2) == {
        "method": "apgd", "norm": "linf", "eps": "8/255", "eps_units": "pixel", "step": None, "iterations": 20,
        "loss": "ce", "keep": ["first-success", "max-loss"], "images": None, "precision": "float32", "seed": 2,
        "torch_threads": 1,
    }  # fmt: skip


def test_an_attack_of_the_zoo_is_evaluated_as_returned():
    plan = plan_of({"x": {"method": "deepfool"}})
    assert plan.kept("x") == ["x.returned"]
    assert plan.attack("small-standard-s0", "test", "x").settings == {
        "method": "deepfool", "norm": "l2", "eps": None, "images": None, "keep": ["returned"], "seed": 0,
        "parameters": {"steps": 50, "overshoot": "1/50"}, "torch_threads": 1,
    }  # fmt: skip


def test_the_papers_numbers_stand_beside_autopgd_only():
    config = yaml.safe_load((ROOT / "configs/cifar10-paper.yaml").read_text())
    config["attacks"]["other"] = {"method": "pgd", "eps": "8/255"}
    assert Plan(read_experiment(config)).tables().settings["paper_attacks"] == ["apgd"]


def artefacts_of(artefact):
    """All that an artefact is made from, itself included."""
    found = {artefact.name: artefact}
    for inputs in artefact.inputs.values():
        for one in inputs:
            found |= artefacts_of(one)
    return found


def storing(storage, poolings=("flatten", "mean")):
    return plan_of({}, features={"storage": storage, "poolings": list(poolings)}, adaptive=None)


def test_a_stream_makes_the_same_artefacts_as_dumps_but_for_the_dumps():
    kept, temporary, streamed = (artefacts_of(storing(how).comparison()) for how in ("keep", "temporary", "stream"))
    assert {name: one.digest for name, one in kept.items()} == {name: one.digest for name, one in temporary.items()}
    dumps = {name for name in kept if name.startswith("features/")}
    assert dumps
    assert kept.keys() - streamed.keys() == dumps
    same = {name for name in streamed if name in kept and kept[name].digest == streamed[name].digest}
    assert same == {"data", "checkpoint", "attacks/calibration.apgd", "attacks/test.apgd"}, "float16 rounds the rest"
    assert {one.path for one in streamed.values()} < {one.path for one in kept.values()}


def test_another_pooling_leaves_what_is_streamed_of_the_first_as_it_is():
    run = "small-standard-s0"
    one, both = storing("stream", ["mean"]), storing("stream")
    for make in (lambda plan: plan.collapse(run, "mean"), lambda plan: plan.rivals(run, "mean")[0]):
        assert make(one).digest == make(both).digest
    made = both.of_classes(run)
    assert len({artefact.job_digest for artefact in made}) == 1, "one call makes them"
    names = {f"{kind}/{pooling}" for kind in ("centroids", "collapse") for pooling in ("flatten", "mean")}
    assert {artefact.name for artefact in made} == names
