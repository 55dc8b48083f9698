"""Limits on attacks by the number of classes and the size of the images."""

import numpy as np
import pytest
import yaml

from featurepaths import __main__ as cli
from featurepaths.attacks.class_limits import left_out, possible_losses
from featurepaths.data.size import DataSize
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment import feasible
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.feasible import attack_library, check_attacks, needs_attack_library
from tests.experiments import small_experiment

ARRAYS = small_experiment(
    "tiny",
    data={"source": "arrays", "train": "data.npz", "test": "data.npz"},
    attacks={"apgd": {"eps": 0.02, "iterations": 3, "stopping_rule": ["max-loss"]}},
)


def checked(classes, *, pixels=32, channels=3, adaptive=None, **attack):
    config = ARRAYS | ({"adaptive": adaptive} if adaptive else {})
    config |= {"attacks": ARRAYS["attacks"] | ({"x": attack} if attack else {})}
    return check_attacks(read_experiment(config), DataSize(100, classes, pixels, pixels, channels))


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, False),
        ({"adaptive": {"attack": "apgd", "controls": None}}, False),
        ({"adaptive": {"attack": "apgd", "controls": {"n_queries": 0}}}, False),
        ({"adaptive": {"attack": "apgd", "controls": {"n_queries": 1}}}, True),
        ({"adaptive": {"attack": "apgd"}}, True),
        ({"attacks": ARRAYS["attacks"] | {"x": {"method": "pgd", "eps": 0.02}}}, True),
    ],
)
def test_torchattacks_is_needed_by_its_attacks_and_the_black_box_control(changes, needed):
    assert needs_attack_library(read_experiment(ARRAYS | changes)) == needed


def test_missing_torchattacks_is_named_with_its_installation(monkeypatch):
    monkeypatch.setattr(feasible, "library_version", lambda name: "absent")
    with pytest.raises(FeaturePathsError, match="--no-deps torchattacks"):
        attack_library()


@pytest.mark.parametrize(
    ("classes", "losses", "targeted", "words"),
    [(2, ["ce"], ["ce"], 2), (3, ["ce", "dlr"], ["ce"], 1), (4, ["ce", "dlr"], ["ce", "dlr"], 0)],
)
def test_defaults_are_reduced_to_what_the_classes_allow(classes, losses, targeted, words):
    defaults = ["ce", "dlr"]
    assert possible_losses(defaults, classes) == losses
    assert possible_losses(defaults, classes, targeted=True) == targeted
    assert len(left_out(defaults, 3, classes)) == words
    said = checked(classes, adaptive={"attack": "apgd"})
    assert ("leaves out" in said) == (classes < 4)
    assert said.count("dlr") == (classes < 3)  # targeted searches use the first possible loss


@pytest.mark.parametrize(
    ("classes", "settings", "keys"),
    [
        (2, {"adaptive": {"attack": "apgd", "losses": ["ce", "dlr"], "n_targets": 3}}, ["losses", "n_targets"]),
        (2, {"adaptive": {"attack": "apgd", "losses": ["dlr"]}}, ["losses"]),
        (3, {"adaptive": {"attack": "apgd", "n_targets": 3}}, ["n_targets"]),
        (3, {"adaptive": {"attack": "apgd", "losses": ["dlr"], "n_targets": 2}}, ["losses"]),
        (2, {"eps": 0.02, "loss": "dlr"}, ["attacks.x.loss"]),
        (3, {"method": "autoattack", "eps": 0.02}, ["attacks.x.method"]),
        (2, {"method": "autoattack", "eps": 0.02, "parameters": {"version": "rand"}}, ["attacks.x.method"]),
        (3, {"method": "apgd-t", "eps": 0.02}, ["attacks.x.method"]),
    ],
)
def test_what_was_asked_for_and_cannot_be_is_refused_all_at_once_by_its_key(classes, settings, keys):
    with pytest.raises(FeaturePathsError) as refused:
        checked(classes, **settings)
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == len(keys)
    for line, key in zip(lines, keys, strict=True):
        assert line.startswith(f"  {key}: ") or line.startswith(f"  adaptive.{key}: ")


@pytest.mark.parametrize(
    ("classes", "settings"),
    [
        (2, {"adaptive": {"attack": "apgd", "losses": ["ce"], "n_targets": 1}}),
        (3, {"adaptive": {"attack": "apgd", "losses": ["ce", "dlr"], "n_targets": 2}}),
        (3, {"eps": 0.02, "loss": "dlr"}),
        (3, {"method": "autoattack", "eps": 0.02, "parameters": {"version": "rand"}}),
        (4, {"method": "autoattack", "eps": 0.02}),
    ],
)
def test_what_can_be_is_taken(classes, settings):
    checked(classes, **settings)


@pytest.mark.parametrize(
    ("attack", "key"),
    [
        ({"norm": "l2", "eps": 400}, "attacks.x.eps"),
        ({"method": "onepixel", "eps": 100000}, "attacks.x.eps"),
        ({"method": "square", "norm": "l2", "eps": 300}, "attacks.x.eps"),
        ({"method": "tifgsm", "eps": 0.1}, "attacks.x.method"),
        ({"method": "jsma"}, "attacks.x.method"),
    ],
)
def test_the_size_of_the_images_decides_too(attack, key):
    with pytest.raises(FeaturePathsError, match=f"\n  {key}: "):
        checked(10, pixels=144, channels=1, **attack)


@pytest.mark.parametrize("classes", [2, 3])
def test_check_says_what_few_classes_mean(classes, tmp_path, monkeypatch, capsys):
    labels = np.arange(120) % classes
    images = np.random.default_rng(0).integers(0, 256, (120, 32, 32), np.uint8)
    np.savez(
        tmp_path / "data.npz", train_images=images, train_labels=labels, test_images=images[::-1], test_labels=labels
    )
    monkeypatch.chdir(tmp_path)

    def check(**settings):
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(ARRAYS | settings))
        cli.main(["check", "tiny.yaml"])
        return capsys.readouterr().out

    out = check(adaptive={"attack": "apgd"})
    assert "attacks: adaptive leaves out" in out
    with pytest.raises(SystemExit):
        check(adaptive={"attack": "apgd", "n_targets": 4})
    out = capsys.readouterr().out
    assert "WRONG    attacks: " in out
    assert "adaptive.n_targets: 4" in out


@pytest.mark.parametrize(("norm", "eps"), [("l2", 100), ("l1", 3100)])
def test_sides_that_are_known_leave_no_room_for_a_wider_image(norm, eps):
    digits = ARRAYS | {"data": {"source": "digits", "test": 0.1, "calibration": 0.1}}
    digits |= {
        "attacks": ARRAYS["attacks"] | {"x": {"method": "ead" if norm == "l1" else "pgd", "norm": norm, "eps": eps}}
    }
    with pytest.raises(FeaturePathsError, match=r"attacks\.x\.eps"):
        check_attacks(read_experiment(digits), DataSize(1797, 10, 32, 32, 1 if norm == "l2" else 3))
