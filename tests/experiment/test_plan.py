"""Settings that the plan passes to the jobs of attacks and data."""

import copy

import pytest
import yaml

from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.external import ExternalInputs
from featurepaths.experiment.plan import Plan
from tests.experiments import ROOT, TINY


def plan_of(attacks, **changes):
    return Plan(read_experiment({**copy.deepcopy(TINY), "attacks": {**TINY["attacks"], **attacks}, **changes}))


def settings_of(attack, seed=0):
    return plan_of({"x": attack}, seeds=[seed]).attack(f"small-standard-s{seed}", "test", "x").settings.recipe()


@pytest.mark.parametrize("attack", [{"eps": "1/10"}, {"method": "fgsm", "eps": "1/10"}])
def test_an_attack_seed_is_added_to_the_training_seed(attack):
    assert settings_of(attack, 3) == settings_of({**attack, "seed": 0}, 3)
    assert settings_of(attack, 3)["seed"] == 3
    assert settings_of({**attack, "seed": 4}, 3)["seed"] == 7


def test_autopgd_is_told_what_it_always_was():
    assert settings_of({"eps": "8/255", "stopping_rule": ["max-loss", "first-success"]}, 2) == {
        "attack": {
            "method": "apgd", "norm": "linf", "eps": "8/255", "eps_space": "pixel", "step": None, "iterations": 20,
            "loss": "ce", "stopping_rule": ["first-success", "max-loss"], "max_images": None, "precision": "float32",
            "seed": 0,
        },
        "seed": 2, "torch_threads": 1, "contents": None,
    }  # fmt: skip


def test_an_attack_of_the_zoo_is_evaluated_as_returned():
    plan = plan_of({"x": {"method": "deepfool"}})
    assert plan.examples("x") == ["x.returned"]
    assert plan.attack("small-standard-s0", "test", "x").settings.attack.model_dump(mode="json") == {
        "method": "deepfool", "norm": "l2", "eps": None, "max_images": None, "stopping_rule": ["returned"], "seed": 0,
        "parameters": {"steps": 50, "overshoot": "1/50"},
    }  # fmt: skip


def test_the_papers_numbers_stand_beside_autopgd_only():
    config = yaml.safe_load((ROOT / "configs/cifar10-paper.yaml").read_text())
    config["attacks"]["other"] = {"method": "pgd", "eps": "8/255"}
    assert Plan(read_experiment(config)).tables().settings.paper_attacks == ["apgd"]


def given(code="c", weights=None, seeds=(0,), **changes):
    model = {"factory": "torchvision.models:resnet18", "checkpoint": weights and "a.pt", **changes}
    config = copy.deepcopy(TINY) | {"models": {"mine": model, **TINY["models"]}, "seeds": list(seeds)}
    return Plan(read_experiment(config), ExternalInputs(networks={"mine": {"code": code, "weights": weights}}))


def test_a_network_that_is_given_makes_one_run():
    plan = given(seeds=[3, 1])
    assert plan.runs == ["mine-pretrained-s1", *(f"small-{how}-s{seed}" for how in TINY["training"] for seed in (1, 3))]
    assert plan.trained == plan.runs[1:]
    assert plan.checkpoint("mine-pretrained-s1").stage == "pretrained"
    assert plan.checkpoint("small-standard-s1").stage == "train"


def test_its_code_weights_and_description_count_and_where_its_weights_lie_does_not():
    def digest(**changes):
        return given(**changes).checkpoint("mine-pretrained-s0").digest

    assert digest(weights="w") == digest(weights="w", checkpoint="elsewhere.pt")
    different = [digest(), digest(weights="w"), digest(code="d"), digest(layers="layer?"), digest(size=64)]
    assert len(set(different)) == len(different)


FILES = {"method": "precomputed", "test": "test.npz", "eps": "8/255"}


def test_of_images_made_elsewhere_contents_count_and_not_their_place():
    def settings(split, **changes):
        experiment = plan_of({"x": {**FILES, "calibration": "calibration.npz", **changes}}, seeds=[3]).experiment
        external = ExternalInputs(attacks={"x": {"test": "abc", "calibration": "def"}})
        return Plan(experiment, external).attack("small-standard-s3", split, "x").settings.recipe()

    images = {"method": "precomputed", "norm": "linf", "eps": "8/255", "stopping_rule": ["returned"]}
    expected = {"attack": images, "contents": "abc", "torch_threads": 1, "seed": 0}
    assert settings("test") == settings("test", test="elsewhere.npz") == expected
    assert settings("calibration") == {**expected, "contents": "def"}


def test_nothing_asks_for_calibration_examples_that_are_not_there():
    plan = plan_of({"x": FILES, "y": {**FILES, "calibration": "y.npz"}})
    evaluation, _ = plan.detector_evaluation("small-standard-s0", "mean")
    calibration, adversarial = ([one.path.stem.partition(".")[2] for one in evaluation.inputs[name]]
                                for name in ("calibration", "adversarial"))  # fmt: skip
    own = [f"apgd.{stopping_rule}" for stopping_rule in sorted(TINY["attacks"]["apgd"]["stopping_rule"])]
    assert calibration == [*own, "y.returned"]
    assert adversarial == [*own, "x.returned", "y.returned"]


def test_streamed_detectors_know_which_attacks_have_calibration_examples():
    plan = plan_of({"x": FILES, "y": {**FILES, "calibration": "y.npz"}}, features={"storage": "stream"})
    evaluation, _ = plan.detector_evaluation("small-standard-s0", "mean")
    own = [f"apgd.{stopping_rule}" for stopping_rule in sorted(TINY["attacks"]["apgd"]["stopping_rule"])]
    assert evaluation.settings.calibrated == [*own, "y.returned"]
    assert evaluation.settings.attacked == [*own, "x.returned", "y.returned"]
    assert len(evaluation.inputs["calibration"]) == len(own) + 1


def data_settings(contents="abc", **data):
    plan = Plan(read_experiment({**copy.deepcopy(TINY), "data": data}), ExternalInputs(data=contents))
    return plan.data().settings.recipe()


def test_of_arrays_contents_count_and_not_their_place():
    arrays = {"source": "arrays", "train": "a.npz", "test": "a.npz"}
    assert data_settings(**arrays) == {
        "data": {
            "source": "arrays", "keys": dict.fromkeys(["train_images", "train_labels", "test_images", "test_labels"]),
            "layout": None, "size": None, "class_names": None, "first_label": 0, "calibration": "1/10", "seed": 0,
        },
        "contents": "abc",
    }  # fmt: skip
    assert data_settings(**arrays, title="mine", reference_dataset="cifar10") == data_settings(**arrays)
    assert data_settings(**{**arrays, "test": "b.npz"}) == data_settings(**arrays)
    assert data_settings("def", **arrays) != data_settings(**arrays)


def test_of_torchvisions_data_the_parts_count_and_not_their_place():
    fake = {"source": "torchvision", "dataset": "FakeData", "test": {"size": 4}}
    assert data_settings(**fake, root="here", download=True) == data_settings(**fake)
    assert data_settings(**fake)["data"]["test"] == {"size": 4}


def test_of_a_factory_the_code_counts():
    data = {"source": "factory", "factory": "mine:make", "arguments": {"n": 3}}
    assert data_settings(**data)["contents"] == "abc"
    assert data_settings(**data)["data"]["arguments"] == {"n": 3}


def artefacts_of(artefact):
    """All that an artefact is made from, itself included."""
    artefacts = {artefact.name: artefact}
    for inputs in artefact.inputs.values():
        for one in inputs:
            artefacts |= artefacts_of(one)
    return artefacts


def storing(storage, poolings=("flatten", "mean")):
    return plan_of({}, features={"storage": storage, "poolings": list(poolings)}, adaptive=None)


def test_a_stream_makes_the_same_artefacts_as_dumps_but_for_the_dumps():
    kept, temporary, streamed = (artefacts_of(storing(how).comparison()) for how in ("store", "temporary", "stream"))
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
    for make in (lambda plan: plan.collapse(run, "mean"), lambda plan: plan.detector_evaluation(run, "mean")[0]):
        assert make(one).digest == make(both).digest
    made = both.of_classes(run)
    assert len({artefact.job_digest for artefact in made}) == 1, "one call makes them"
    names = {f"{kind}/{pooling}" for kind in ("centroids", "collapse") for pooling in ("flatten", "mean")}
    assert {artefact.name for artefact in made} == names


@pytest.mark.parametrize("storage", ["store", "stream", "temporary"])
def test_run_figures_read_images_and_paths_but_no_features(storage):
    plan = plan_of({"other": {"eps": "1/20"}}, features={"storage": storage})
    worst = {
        (pooling, attack): [
            source.name for source in plan.run_figures("small-standard-s0", pooling, attack).inputs["adaptive"]
        ]
        for pooling in ("flatten", "mean")
        for attack in ("apgd", "other")
    }
    assert worst == {("flatten", "apgd"): ["adaptive/flatten"], ("flatten", "other"): [], ("mean", "apgd"): [],
                     ("mean", "other"): []}  # fmt: skip
    sources = plan.run_figures("small-standard-s0", "flatten", "apgd").sources
    kinds = {source.name.partition("/")[0] for source in sources}
    assert kinds == {"data", "attacks", "paths", "detection", "recognition", "adaptive"}


@pytest.mark.parametrize(
    ("attack", "budget"),
    [
        ({"eps": "8/255"}, "L∞, eps 8/255"),
        ({"eps": "8/255", "eps_space": "normalized"}, "L∞, eps 8/255 in normalised units"),
        ({"method": "pgd", "norm": "l2", "eps": 0.5}, "L2, eps 0.5"),
        ({"method": "deepfool"}, "L2, unbounded"),
        ({"method": "precomputed", "test": "images.npz"}, "precomputed, eps unknown"),
        ({"method": "precomputed", "test": "images.npz", "norm": "l2", "eps": 1}, "L2, eps 1"),
    ],
)
def test_run_figures_title_states_the_attacks_budget(attack, budget):
    plan = plan_of({"other": attack})
    figures = plan.run_figures("small-standard-s0", "flatten", "other")
    assert figures.settings.title.endswith(f"\nflatten features, attack other ({budget})")
    assert plan.explorer().settings.budgets["other"] == budget


def test_figures_of_comparison_and_explorer_state_the_adaptive_budget():
    plan = plan_of({"other": {"eps": "8/255"}})
    assert plan.comparison_figures().settings.budget == plan.explorer().settings.adaptive_budget == "L∞, eps 0.1"
    without = plan_of({}, adaptive=None)
    assert without.explorer().settings.adaptive_budget is None
