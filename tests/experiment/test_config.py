import copy
import json
from fractions import Fraction

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.config.messages import read_experiment
from tests.experiments import ROOT

DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path, value):
    config = copy.deepcopy(DEFAULT)
    *parents, key = path.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    if value is None:
        del section[key]
    else:
        section[key] = value
    return config


def message(config):
    with pytest.raises(FeaturePathsError) as error:
        read_experiment(config, "config.yaml")
    return str(error.value)


def test_default_configuration_is_valid():
    assert read_experiment(DEFAULT).name == "digits"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_configurations_in_the_repository_are_valid(path):
    assert read_experiment(yaml.safe_load(path.read_text())).name == path.stem


def test_the_papers_settings_are_the_papers():
    experiment = read_experiment(yaml.safe_load((ROOT / "configs/cifar10-paper.yaml").read_text()))
    assert {model.width for model in experiment.models.values()} == {64}
    for training in experiment.training.values():
        assert (training.epochs, training.batch_size, training.milestones) == (300, 128, [117, 233])
        assert (training.learning_rate, training.momentum) == (Fraction(1, 100), Fraction(9, 10))
        assert training.weight_decay == Fraction(5, 10000)
    attack = experiment.attacks["apgd"]
    assert (attack.eps, attack.step, attack.iterations) == (Fraction(8, 255), Fraction(2, 255), 20)


def test_schema_in_the_repository_is_the_models_schema():
    stored = json.loads((ROOT / "schemas/config.schema.json").read_text())
    assert stored == Experiment.model_json_schema(), "run `make schema`"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("attacks.apgd.iteratons", 20, "attacks.apgd.iteratons: unknown key; did you mean 'iterations'?"),
        ("models.resnet20.widht", 8, "models.resnet20.widht: unknown key; did you mean 'width'?"),
        ("data.sise", 32, "data.sise: unknown key; did you mean 'size'?"),
        ("training.adversarial.adversary.stp", 1, "did you mean 'step'?"),
        ("zzz", 1, "zzz: unknown key; known keys are adaptive, attacks"),
        ("training.standard.epochs", "ten", "training.standard.epochs: input should be a valid integer, not 'ten'"),
        ("training.standard.epochs", True, "training.standard.epochs: input should be a valid integer"),
        ("attacks.apgd.eps", "8/0", "attacks.apgd.eps: '8/0' is not a number or a fraction"),
        ("attacks.apgd.eps", 0, "attacks.apgd.eps: should be greater than 0"),
        ("features.storage", "dump", "features.storage: input should be 'store', 'temporary' or 'stream', not 'dump'"),
        ("features.keep", False, "features.keep: this key is now called 'storage'"),
        ("attacks.apgd.eps", None, "attacks.apgd.eps: missing"),
        (
            "attacks.apgd.method",
            "pgdd",
            "attacks.apgd.method: should be one of apgd, precomputed, fgsm, ffgsm, rfgsm, bim, pgd, ",
        ),
        ("attacks.apgd.method", "pgdd", "onepixel, not 'pgdd'; did you mean 'pgd'?"),
        ("attacks.apgd.method", ["pgd"], "attacks.apgd.method: should be one of apgd, precomputed, "),
        ("attacks.apgd.seed", -1, "attacks.apgd.seed: input should be greater than or equal to 0, not -1"),
        ("attacks.apgd.norm", "l1", "attacks.apgd.norm: input should be 'linf' or 'l2', not 'l1'"),
        ("attacks.apgd.stopping_rule", ["best"], "attacks.apgd.stopping_rule.0"),
        (
            "attacks.apgd.stopping_rule",
            ["returned"],
            "attacks.apgd.stopping_rule.0: input should be 'first-success', 'last-success' or",
        ),
        ("attacks", {"a b": {"eps": 1}}, "attacks.a b"),
        ("models", {"../x": {"architecture": "resnet20"}}, "models.../x"),
        ("name", "../elsewhere", "name: string should match pattern"),
        ("calibration.attack", "pgd", "calibration.attack: 'pgd' is not one of attacks (apgd)"),
        (
            "calibration.stopping_rule",
            "last-success",
            "calibration.stopping_rule: 'last-success' is not one of attacks.apgd.stopping_rule",
        ),
        ("calibration", None, "calibration: missing"),
        ("recognition.layers", [2, 9], "recognition.layers: there is no layer 9; models.resnet18 has 8 layers"),
        ("recognition.layers", [0], "recognition.layers"),
        ("recognition.top", 9, "recognition.top: there is no layer 9; models.resnet18 has 8 layers"),
        ("recognition.combinations", [2], "recognition.combinations: should name two or more layers, or none"),
        ("seeds", [2**32], "seeds.0: input should be less than 4294967296"),
        (
            "detection.false_positive_rates",
            [0.05, "1/20"],
            "detection.false_positive_rates: contains a value twice",
        ),
        ("detection.false_positive_rates", [1], "detection.false_positive_rates.0: input should be less than 1"),
        ("detection.false_positive_rates", [], "detection.false_positive_rates: list should have at least 1 item"),
        ("detection.false_positive_rate", 0.05, "did you mean 'false_positive_rates'?"),
        ("detection.layers", "some", "detection.layers: input should be 'auto', not 'some'"),
        ("detection.weights", ["1/2", "1/2"], "detection.weights: a list needs detection.layers to be a list"),
        (
            "seeds",
            "[0,1]",
            "seeds: input should be a valid list, not the text '[0,1]'; --config",
        ),
        (
            "seeds",
            ["0", "1"],
            "seeds.1: input should be a valid integer, not the text '1'; --config",
        ),
        ("seeds", [0, 0], "seeds: contains a value twice"),
        ("data.source", "mnist", "data: input tag 'mnist'"),
        ("features.poolings", ["max"], "features.poolings.0: input should be 'flatten' or 'mean', not 'max'"),
    ],
)
def test_what_is_wrong_is_named(path, value, expected):
    assert expected in message(changed(path, value))


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ({"method": "pgd"}, "attacks.x: eps is missing; method pgd needs a radius"),
        ({"method": "fgsm", "eps": 1, "norm": "l2"}, "attacks.x.norm: method fgsm has linf, not l2"),
        ({"method": "square", "eps": 1, "norm": "l1"}, "attacks.x.norm: method square has linf or l2, not l1"),
        ({"method": "pgd", "eps": 1, "norm": "l3"}, "attacks.x.norm: input should be 'linf', 'l2', 'l1' or 'l0', not"),
        (
            {"method": "pgd", "eps": 1, "parameters": {"stpes": 3}},
            "attacks.x.parameters: 'stpes' is no parameter of method pgd, which has steps, alpha, random_start; did "
            "you mean 'steps'?",
        ),
        (
            {"method": "ead", "parameters": {"kappa": 3}},
            "attacks.x.parameters: 'kappa' is no parameter of method ead, which has max_iterations, ",
        ),
        (
            {"method": "fgsm", "eps": 1, "parameters": {"steps": 3}},
            "attacks.x.parameters: 'steps' is no parameter of method fgsm, which has none",
        ),
        (
            {"method": "cw", "parameters": {"steps": 2.5}},
            "attacks.x.parameters: steps should be a whole number of at least 1, not 2.5",
        ),
        ({"method": "cw", "parameters": {"steps": True}}, "steps should be a whole number of at least 1, not True"),
        ({"method": "ead", "parameters": {"max_iterations": 9}}, "should be a whole number of at least 10, not 9"),
        (
            {"method": "cw", "parameters": {"lr": "1/0"}},
            "attacks.x.parameters: lr: '1/0' is not a number or a fraction",
        ),
        ({"method": "cw", "parameters": {"lr": -1}}, "lr should be a number of at least 0, not -1"),
        (
            {"method": "square", "eps": 1, "parameters": {"p_init": 2}},
            "p_init should be a number of at least 0 and at most 1, not 2",
        ),
        ({"method": "square", "eps": 1, "parameters": {"loss": "dlr"}}, "loss should be margin or ce, not 'dlr'"),
        ({"method": "pgd", "eps": 1, "parameters": {"random_start": 1}}, "random_start should be true or false, not 1"),
        ({"method": "onepixel", "eps": 1.5}, "attacks.x.eps: should be a whole number of pixels, not 3/2"),
        (
            {"method": "cw", "iterations": 3},
            "attacks.x.iterations: unknown key; known keys are eps, max_images, method",
        ),
        ({"method": "cw", "parameter": {}}, "attacks.x.parameter: unknown key; did you mean 'parameters'?"),
        (
            {"method": "cw", "stopping_rule": ["max-loss"]},
            "attacks.x.stopping_rule.0: input should be 'returned', not 'max-loss'",
        ),
        ({"method": "cw", "stopping_rule": []}, "attacks.x.stopping_rule: list should have at least 1 item"),
        ({"eps": 1, "parameters": {}}, "attacks.x.parameters: unknown key"),
    ],
)
def test_what_is_wrong_with_an_attack_of_the_zoo_is_named(attack, expected):
    output = message(changed("attacks", {**DEFAULT["attacks"], "x": attack}))
    assert expected in output
    assert len(output.splitlines()) == 2, "nothing else is wrong"


TOO_FAR = [
    ("attacks.apgd.eps", 8, "8/255"),
    ("attacks.apgd.eps", 255, "255/255"),
    ("attacks.apgd.eps", "1.01", "1"),
    ("attacks.apgd.step", 2, "2/255"),
    ("attacks.apgd", {"norm": "l2", "eps": 1000}, "1000"),
    ("attacks.apgd", {"eps": 8, "eps_space": "normalized"}, "8/255"),
    ("attacks.apgd", {"eps": 1, "step": 8, "eps_space": "normalized"}, "8/255"),
    ("attacks.apgd", {"method": "pgd", "eps": 8}, "8/255"),
    ("attacks.apgd", {"method": "pgd", "eps": 1, "parameters": {"alpha": 2}}, "2/255"),
    ("attacks.apgd", {"method": "square", "eps": 8}, "8/255"),
    ("attacks.apgd", {"method": "deepfool", "eps": 1000}, "1000"),
    ("attacks.apgd", {"method": "precomputed", "test": "x.npz", "eps": 8}, "8/255"),
    ("attacks.apgd", {"method": "onepixel", "eps": 1000000}, "1000000"),
    ("training.adversarial.adversary.eps", 8, "8/255"),
    ("training.adversarial.adversary.step", 2, "2/255"),
    ("adaptive.step", 2, "2/255"),
]


@pytest.mark.parametrize(("path", "value", "meant"), TOO_FAR)
def test_a_radius_or_a_step_beyond_all_images_is_refused_with_what_was_meant(path, value, meant):
    output = message(changed(path, value))
    key, _, last = path.rpartition(".")
    assert f"  {path}" in output or f"  {key}: {last}" in output
    assert meant in output


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("attacks.apgd.eps", 1),
        ("attacks.apgd.step", 1),
        ("attacks.apgd", {"norm": "l2", "eps": 30, "step": 60}),
        ("attacks.apgd", {"eps": 2, "eps_space": "normalized"}),
        ("training.adversarial.adversary.eps", 1),
    ],
)
def test_a_radius_that_images_are_apart_is_taken(path, value):
    read_experiment(changed(path, value))


def test_attacks_of_the_zoo_have_the_librarys_defaults_and_exact_numbers():
    attacks = {
        **DEFAULT["attacks"],
        "a": {"method": "pgd", "eps": "8/255"},
        "b": {"method": "cw", "parameters": {"lr": 0.1, "steps": 7}},
    }
    experiment = read_experiment(changed("attacks", attacks))
    attacks = experiment.model_dump(mode="json")["attacks"]
    assert attacks["a"] == {
        "method": "pgd", "norm": "linf", "eps": "8/255", "max_images": None, "stopping_rule": ["returned"], "seed": 0,
        "parameters": {"steps": 10, "alpha": "2/255", "random_start": True},
    }  # fmt: skip
    assert (attacks["b"]["norm"], attacks["b"]["eps"]) == ("l2", None)
    assert attacks["b"]["parameters"] == {"steps": 7, "c": "1", "kappa": "0", "lr": "1/10"}
    again = read_experiment(experiment.model_dump(mode="json"))
    assert again == experiment


def test_a_defence_can_be_calibrated_on_an_attack_of_the_zoo():
    config = changed("attacks", {**DEFAULT["attacks"], "f": {"method": "fgsm", "eps": 0.1}})
    config["calibration"] = {"attack": "f", "stopping_rule": "returned"}
    assert read_experiment(config).calibration.stopping_rule == "returned"
    config["calibration"]["stopping_rule"] = "max-loss"
    assert "calibration.stopping_rule: 'max-loss' is not one of attacks.f.stopping_rule" in message(config)


PRETRAINED = {
    "factory": "torchvision.models:resnet18",
    "arguments": {"num_classes": 10},
    "layers": ["layer1", "layer2"],
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"factry": "a:b"}, "models.mine.factry: unknown key; did you mean 'factory'?"),
        ({"factory": "timm"}, "models.mine.factory: should be package.module:function, not 'timm'"),
        ({"mean": [0, 0, 0]}, "models.mine: mean and std: set both, for the same channels, or neither"),
        ({"mean": [0.5], "std": [0]}, "models.mine.std.0: should be greater than 0"),
        ({"layers": []}, "models.mine.layers: list should have at least 1 item"),
        ({"layers": ["a", "a"]}, "models.mine.layers: contains a value twice"),
        ({"layers": 3}, "models.mine.layers: input should be a valid string, not 3"),
        ({"arguments": {1: 2}}, "models.mine.arguments.1: input should be a valid string, not 1"),
    ],
)
def test_what_is_wrong_with_a_network_that_is_given_is_named(changes, expected):
    config = copy.deepcopy(DEFAULT)
    config["models"]["mine"] = PRETRAINED | changes
    text = message(config)
    assert text.splitlines()[1:] == [f"  {expected}"] or expected in text


def test_networks_that_are_given_need_no_training_and_others_do():
    config = {key: value for key, value in DEFAULT.items() if key != "training"} | {"models": {"mine": PRETRAINED}}
    assert read_experiment(config).pretrained("mine").layers == ["layer1", "layer2"]
    assert "training: missing; add a section that trains models.resnet20" in message(
        config | {"models": {"mine": PRETRAINED, **DEFAULT["models"]}}
    )
    assert "all models are pretrained" in message(config | {"training": DEFAULT["training"]})
    both = {"models": {"mine": PRETRAINED, **DEFAULT["models"]}, "training": {"pretrained": {}}}
    assert "training.pretrained: this name is reserved" in message(config | both)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"source": "arrays", "train": "a.npz"}, "data.test: missing"),
        ({"source": "arrays", "train": "a.npz", "tset": "a.npz"}, "data.tset: unknown key; did you mean 'test'?"),
        ({"source": "arrays", "train": "a", "test": "a", "keys": {"images": "x"}}, "data.keys.images: unknown key"),
        (
            {"source": "arrays", "train": "a", "test": {"image": "b", "labels": "c"}},
            "data.test.image: unknown key; did you mean 'images'?",
        ),
        ({"source": "arrays", "train": "a", "test": {"images": "b"}}, "data.test.labels: missing"),
        (
            {"source": "arrays", "train": "a", "test": {"images": "b", "labels": "c", "severity": 6}},
            "data.test.severity: input should be less than or equal to 5",
        ),
        ({"source": "arrays", "train": "a", "test": 3}, "data.test: input should be a valid string, not 3"),
        ({"source": "arrays", "train": "a", "test": "a", "first_label": 2}, "data.first_label: input should be 0 or 1"),
        (
            {"source": "arrays", "train": "a", "test": "a", "layout": "CHW"},
            "data.layout: input should be 'NHWC' or 'NCHW'",
        ),
        (
            {"source": "arrays", "train": "a", "test": "a", "class_names": ["x"]},
            "data.class_names: list should have at ",
        ),
        ({"source": "torchvision", "dataset": "SVNH", "root": "."}, "training and a test part; did you mean 'SVHN'?"),
        ({"source": "torchvision", "dataset": "Kitti", "root": "."}, "CLEVRClassification"),
        ({"source": "torchvision", "dataset": ["SVHN"], "root": "."}, "data.dataset: '['SVHN']' is no data set of"),
        ({"source": "torchvision", "dataset": "SVHN"}, "data: root is missing: the folder that holds the files"),
        (
            {"source": "torchvision", "dataset": "SVHN", "root": ".", "size": 8},
            "data.size: input should be greater than",
        ),
        ({"source": "torchvision", "dataset": "FakeData"}, "data: the training and the test images would be the same"),
        (
            {"source": "torchvision", "dataset": "SVHN", "root": ".", "arguments": {"split": "extra"}},
            "would be the same, those of {'split': 'extra'}",
        ),
        ({"source": "factory", "factory": "module.make"}, "data.factory: should be package.module:function"),
        (
            {"source": "factory", "factory": "a:b", "arguments": {"n": object()}},
            "data.arguments.n: input was not a valid",
        ),
    ],
)
def test_what_is_wrong_with_data_of_ones_own_is_named(data, expected):
    assert expected in message(changed("data", data))


def test_data_of_ones_own():
    config = changed("data", {"source": "arrays", "train": "a.npz", "test": "a.npz", "class_names": ["cat", "dog"]})
    data = read_experiment(config).data
    assert (data.keys.train_images, data.layout, data.calibration) == (None, None, Fraction(1, 10))
    config["data"] = {"source": "torchvision", "dataset": "FakeData", "train": {"size": 9}, "arguments": {"a": [1, 2]}}
    assert read_experiment(config).model_dump(mode="json")["data"]["arguments"] == {"a": [1, 2]}
    config["data"] = {"source": "factory", "factory": "mine.data:make", "arguments": {"deep": {"er": None}}}
    assert read_experiment(config).data.arguments == {"deep": {"er": None}}


def test_adversarial_images_made_elsewhere():
    config = changed("attacks", {**DEFAULT["attacks"], "x": {"method": "precomputed", "test": "a.npz", "eps": "8/255"}})
    attack = read_experiment(config).attacks["x"]
    assert (attack.norm, attack.eps, attack.stopping_rule, attack.files) == (
        "linf",
        Fraction(8, 255),
        ["returned"],
        {"test": "a.npz"},
    )
    assert read_experiment(config).calibrated == ["apgd"]
    config["calibration"] = {"attack": "x", "stopping_rule": "returned"}
    assert "calibration.attack: attacks.x has no calibration file" in message(config)
    config["attacks"]["x"]["calibration"] = "b.npz"
    assert read_experiment(config).calibrated == ["apgd", "x"]
    assert read_experiment(config).attacks["x"].files == {"test": "a.npz", "calibration": "b.npz"}
    config["adaptive"]["attack"] = "x"
    assert "adaptive.attack: 'x' is not an AutoPGD attack" in message(config)
    config["attacks"]["x"] = {"method": "precomputed", "zzz": 3}
    output = message(config)
    assert "attacks.x.test: missing" in output
    assert "attacks.x.zzz: unknown key; known keys are calibration, eps, method, norm, stopping_rule, test" in output


def test_all_problems_are_told_at_once():
    config = changed("attacks.apgd.eps", "x")
    config["seeds"] = 3
    output = message(config).splitlines()
    assert len(output) == 3
    assert output[0] == "config.yaml is not valid:"


def test_weights_sum_to_one_exactly():
    config = changed("detection.layers", [1, 2, 3])
    config["detection"]["weights"] = ["1/3", "1/3", "1/3"]
    assert sum(read_experiment(config).detection.weights) == 1
    config["detection"]["weights"] = [0.3, 0.3, 0.3]
    assert "detection.weights: should be at least 0 and sum to 1, not to 9/10" in message(config)


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_fractions_stay_exact_through_json(one, other):
    numerator, denominator = sorted((one, other))
    experiment = read_experiment(changed("attacks.apgd.eps", f"{numerator}/{denominator}"))
    written = json.loads(experiment.model_dump_json())["attacks"]["apgd"]["eps"]
    assert Fraction(written) == Fraction(numerator, denominator)


def test_false_positive_rates_come_strictest_last():
    assert read_experiment(DEFAULT).detection.false_positive_rates == [Fraction(1, 20), Fraction(1, 100)]
    config = changed("detection.false_positive_rates", [0.01, "1/10", 0.05])
    assert read_experiment(config).model_dump(mode="json")["detection"]["false_positive_rates"] == [
        "1/10",
        "1/20",
        "1/100",
    ]


def test_decimals_mean_what_is_written():
    assert read_experiment(changed("attacks.apgd.eps", 0.1)).attacks["apgd"].eps == Fraction(1, 10)


def test_without_calibration_images_only_the_papers_protocol_is_left():
    config = changed("data.calibration", 0)
    for section in ("calibration", "detectors", "adaptive"):
        del config[section]
    assert read_experiment(config).protocols == ["paper"]


@pytest.mark.parametrize(
    ("section", "value", "problem"),
    [
        ("adaptive", {"attack": "fgsm"}, "adaptive.attack: 'fgsm' is not one of attacks (apgd)"),
        ("adaptive", {"attack": "apgd", "poolings": ["mean"]}, "adaptive.poolings: 'mean' is not one of features"),
        ("adaptive", {"attack": "apgd", "objectives": ["evad"]}, "adaptive.objectives.0: input should be 'evade'"),
        (
            "adaptive",
            {"attack": "apgd", "controls": {"eps_multiples": ["x"]}},
            "adaptive.controls.eps_multiples.0: 'x' is not",
        ),
        ("adaptive", {"attack": "apgd", "goals": []}, "adaptive.goals: unknown key"),
        ("detectors", ["confidance"], "detectors.0: input should be 'confidence'"),
        ("detectors", ["energy", "energy"], "detectors: contains a value twice"),
    ],
)
def test_what_is_wrong_with_attackers_who_know_the_defence_is_named(section, value, problem):
    config = changed(section, value)
    config["features"] = {"poolings": ["flatten"]}
    with pytest.raises(FeaturePathsError) as error:
        read_experiment(config)
    assert problem in str(error.value)


def test_an_oblivious_attack_is_not_called_like_an_adaptive_one():
    config = changed("attacks", {"evade": {"eps": "1/10"}})
    config["calibration"] = {"attack": "evade", "stopping_rule": "max-loss"}
    config["adaptive"] = {"attack": "evade"}
    with pytest.raises(FeaturePathsError, match="'evade' is the name of an adaptive objective"):
        read_experiment(config)


@pytest.mark.parametrize("section", ["detectors", "adaptive"])
def test_attackers_who_know_the_defence_need_calibration_images(section):
    config = changed("data.calibration", 0)
    for other in {"calibration", "detectors", "adaptive"} - {section}:
        del config[other]
    with pytest.raises(FeaturePathsError, match=f"{section}: needs calibration images"):
        read_experiment(config)


def test_every_field_is_reachable_from_the_schema_with_its_default_or_requirement():
    schema = Experiment.model_json_schema()
    for name, section in {"Experiment": schema, **schema["$defs"]}.items():
        for key, field in section["properties"].items():
            assert "default" in field or key in section.get("required", []), f"{name}.{key}"


def test_layers_that_are_needed_are_those_that_are_named():
    """Defaults adapt to the network, so that a network of two layers needs none of them."""
    config = changed("training", None)
    config["models"] = {"mine": {"factory": "nets:make"}}
    del config["recognition"]
    experiment = read_experiment(config)
    assert experiment.recognition.combinations == "auto"
    assert experiment.named_layers == {}
    config["recognition"] = {"top": 4, "combinations": [5, 2]}
    config["detection"] = {"layers": [1, 3]}
    assert read_experiment(config).named_layers == {
        "detection.layers": 3, "recognition.combinations": 5, "recognition.top": 4,
    }  # fmt: skip
    config["recognition"] = {"combinations": []}
    assert read_experiment(config).named_layers == {"detection.layers": 3}


@pytest.mark.parametrize(
    ("key", "value", "new"),
    [
        ("attacks.apgd.keep", ["max-loss"], "stopping_rule"),
        ("attacks.apgd.images", 10, "max_images"),
        ("attacks.apgd.eps_units", "pixel", "eps_space"),
        ("attacks.apgd.eps_space", "normalised", "normalized"),
        ("attacks.apgd.method", "files", "precomputed"),
        ("calibration.keep", "max-loss", "stopping_rule"),
        ("features.storage", "keep", "store"),
        ("features.keep", True, "storage"),
        ("collapse.pfc3", 0.9, "pfc3_threshold"),
        ("recognition.tie", "last-layer", "tie_break"),
        ("adaptive.targets", 1, "n_targets"),
        ("adaptive.only_survivors", True, "skip_defeated"),
        ("adaptive.controls.multiples", [1], "eps_multiples"),
        ("adaptive.controls.queries", 10, "n_queries"),
        ("resident_mb", 10, "in_memory_mb"),
    ],
)
def test_former_name_reports_new_name(key, value, new):
    config = {**yaml.safe_load((ROOT / "config.yaml").read_text()), "collapse": {}}
    section = config
    *parents, last = key.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(FeaturePathsError) as error:
        read_experiment(config)
    (line,) = [line for line in str(error.value).splitlines() if line.strip().startswith(f"{key}:")]
    assert f"'{new}'" in line
