"""The command line: what it prints, and what it says is wrong."""

import copy
import tomllib

import h5py
import pytest
import torch
import torchvision
import yaml

from featurepaths.__main__ import main
from featurepaths.experiment import preview
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.external import fingerprint_inputs
from featurepaths.networks.warnings import DOUBTS
from tests.experiments import ROOT, TINY

PRETRAINED = {
    "factory": "torchvision.models:VisionTransformer",
    "arguments": {"image_size": 32, "patch_size": 8, "num_layers": 4, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32,
                  "num_classes": 10},
    "checkpoint": "vit.pth",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a configuration of a network of Table 1 and one that is given."""
    monkeypatch.chdir(tmp_path)
    network = torchvision.models.VisionTransformer(**PRETRAINED["arguments"])
    torch.nn.init.normal_(network.heads.head.weight)  # which torchvision sets to 0, so that nothing has a gradient
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    write(tmp_path)
    return tmp_path


def write(folder, model=PRETRAINED, **changes):
    config = copy.deepcopy(TINY) | {"models": {**TINY["models"], "vit": model}} | changes
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))


def told(capsys, *words):
    """Return what a command that ends well prints."""
    main([str(word) for word in words])
    return capsys.readouterr().out


def refused(*words):
    """Return the message and the code that a command ends with."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return str(caught.value.code)


def test_main_tables_are_shown_and_the_others_named(tmp_path, capsys):
    tables = tmp_path / "results/mine/tables"
    tables.mkdir(parents=True)
    for name in ("verdict", "accuracy", "detection"):
        (tables / f"{name}.md").write_text(f"# Table {name}\n")
    results = tmp_path / "results/mine"
    shown = told(capsys, "show", results)
    assert shown.index("# Table verdict") < shown.index("# Table accuracy")
    assert "# Table detection" not in shown
    assert shown.rstrip().endswith(f"Also: detection (featurepaths show {results} <table> ...)")
    assert told(capsys, "show", results, "detection").startswith("# Table detection")
    assert "no table 'detections' in" in refused("show", results, "detections")
    assert "has no tables" in refused("show", tmp_path / "none")


def test_layers_are_listed_with_their_sizes(folder, capsys):
    lines = [line.split() for line in told(capsys, "layers", "mine.yaml").splitlines()]
    assert ["1", "blocks.0", "4x16x16", "1,024", "4"] in lines
    assert ["8", "blocks.7", "32x2x2", "128", "32"] in lines
    assert ["4", "encoder.layers.encoder_layer_3", "16x17", "272", "16"] in lines


def test_dumps_are_as_large_as_was_said(tiny):
    """By the feature dumps that the workflow made."""
    experiment = read_experiment(TINY)
    size = preview.data_size(experiment, fingerprint_inputs(experiment))
    layers = preview.layers_of(experiment, size, "small")
    said = preview.dump_bytes(experiment, size, "small", layers)
    made = 0
    for path in tiny.results.glob("*/features/*/*.h5"):
        with h5py.File(path) as file:
            made += sum(values.nbytes for name, values in file.items() if name.startswith("layer"))
    assert made <= said < 4 * made  # which images are attacked is known once they are split


def test_a_sound_configuration_passes(folder, capsys):
    lines = told(capsys, "check", "mine.yaml").splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert "ok       models.vit: 4 layers, encoder.layers.encoder_layer_0 to encoder.layers.encoder_layer_3" in lines
    assert any(line.startswith("ok       data: 1,797 images of 10 classes, 32 pixels high") for line in lines)


def test_doubts_about_a_network_are_warnings(folder, capsys):
    weights = torch.load(folder / "vit.pth")
    torch.save({name: values * (name != "heads.head.weight") for name, values in weights.items()}, folder / "vit.pth")
    lines = told(capsys, "check", "mine.yaml").splitlines()
    (warning,) = (line for line in lines if not line.startswith("ok "))
    assert warning == f"WARNING  models.vit: {DOUBTS['gradient']}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": PRETRAINED | {"factory": "nowhere:at_all"}}, "no module 'nowhere'"),
        ({"model": PRETRAINED | {"checkpoint": "none.pth"}}, "none.pth cannot be read"),
        ({"attacks": {}}, "attacks: dictionary should have at least 1 item"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_told_at_once(folder, changes, said):
    write(folder, **changes)
    assert said in refused("check", "mine.yaml")
    assert said in refused("layers", "mine.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": PRETRAINED | {"arguments": PRETRAINED["arguments"] | {"num_classes": 7}}},
            "does not fit the network",
        ),
        ({"model": PRETRAINED | {"layers": "blocks.*"}}, "No module of the network matches 'blocks.*'"),
        ({"recognition": {"layers": [2, 5]}}, "recognition.layers: there is no layer 5; the network has 4 layers."),
        (
            {"recognition": {"top": 5, "layers": "auto"}},
            "recognition.top: there is no layer 5; the network has 4 layers.",
        ),
    ],
)
def test_what_is_wrong_with_a_network_is_told_beside_what_is_right(folder, capsys, changes, said):
    write(folder, **changes)
    assert "mend models.vit" in refused("check", "mine.yaml")
    lines = capsys.readouterr().out
    assert f"WRONG    models.vit: {said}" in lines.replace("vit.pth does", "does")
    assert "ok       models.small: 8 layers" in lines


def test_a_missing_or_broken_file_is_told(tmp_path):
    assert "cannot be read" in refused("check", tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert "cannot be read" in refused("layers", tmp_path / "broken.yaml")
    (tmp_path / "text.yaml").write_text("text")
    assert "holds no configuration" in refused("check", tmp_path / "text.yaml")


def test_the_command_is_installed_by_its_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"featurepaths": "featurepaths.__main__:main"}


def test_data_that_only_reading_tells_of_are_nothing_wrong(folder, capsys):
    write(folder, data={"source": "torchvision", "dataset": "FakeData", "test": {"size": 4}})
    lines = told(capsys, "check", "mine.yaml")
    assert "ok       data: How many images and classes torchvision gives is known once they are read" in lines
    assert "--until data" in refused("layers", "mine.yaml")
