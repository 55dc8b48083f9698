"""The command line: its output and its error messages."""

import copy
import tomllib

import h5py
import numpy as np
import pytest
import torch
import torchvision
import yaml

from featurepaths.__main__ import main
from featurepaths.experiment import preview
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.external import fingerprint_inputs
from featurepaths.networks.warnings import DOUBTS
from featurepaths.store.jsonfile import write_json
from featurepaths.store.origin import Origin
from tests.experiments import ROOT, TINY

PRETRAINED = {
    "factory": "torchvision.models:VisionTransformer",
    "arguments": {"image_size": 32, "patch_size": 8, "num_layers": 4, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32,
                  "num_classes": 10},
    "checkpoint": "vit.pth",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a configuration of a network of Table 1 and a pretrained one."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(**PRETRAINED["arguments"])
    torch.nn.init.normal_(network.heads.head.weight)  # torchvision sets them to 0, so all gradients vanish
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    write(tmp_path)
    return tmp_path


def write(folder, model=PRETRAINED, **changes):
    config = copy.deepcopy(TINY) | {"models": {**TINY["models"], "vit": model}} | changes
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))


def printed(capsys, *words):
    """Return the output of a command that succeeds."""
    main([str(word) for word in words])
    return capsys.readouterr().out


def refused(*words):
    """Return the message that a command fails with."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return str(caught.value.code)


def test_show_prints_main_tables_and_names_others(tmp_path, capsys):
    tables = tmp_path / "results/mine/tables"
    tables.mkdir(parents=True)
    for name in ("verdict", "accuracy", "detection"):
        (tables / f"{name}.md").write_text(f"# Table {name}\n")
    files = [f"{name}.md" for name in ("verdict", "accuracy", "detection")]
    write_json(tables / "tables.json", {"files": files}, Origin("tables/tables", "0", {}, []))
    results = tmp_path / "results/mine"
    shown = printed(capsys, "show", "--markdown", results)
    assert shown.index("# Table verdict") < shown.index("# Table accuracy")
    assert "# Table detection" not in shown
    assert shown.rstrip().endswith(f"Also: detection (featurepaths show {results} <table> ...)")
    assert printed(capsys, "show", "--markdown", results, "detection").startswith("# Table detection")
    assert printed(capsys, "show", results, "detection").split()[:2] == ["Table", "detection"]
    assert "no table 'detections' in" in refused("show", results, "detections")
    assert "has no tables" in refused("show", tmp_path / "none")


def test_layers_lists_shapes_and_sizes(folder, capsys):
    lines = [line.split() for line in printed(capsys, "layers", "mine.yaml").splitlines()]
    assert ["1", "blocks.0", "4x16x16", "1,024", "4"] in lines
    assert ["8", "blocks.7", "32x2x2", "128", "32"] in lines
    assert ["4", "encoder.layers.encoder_layer_3", "16x17", "272", "16"] in lines


def test_images_that_are_not_square_are_previewed_as_they_are(folder, capsys):
    for part, count in (("train", 60), ("test", 30)):
        images = np.zeros((count, 32, 64, 3), np.uint8)
        np.savez(folder / f"{part}.npz", images=images, labels=np.arange(count) % 3)
    swin = {"patch_size": [4, 4], "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4]}
    model = {"factory": "torchvision.models:SwinTransformer", "arguments": swin | {"num_classes": 3}}
    write(
        folder,
        data={"source": "arrays", "train": "train.npz", "test": "test.npz"},
        models=TINY["models"] | {"swin": model, "early": model | {"layers": ["features.1.0"]}},
    )
    lines = printed(capsys, "layers", "mine.yaml").splitlines()
    assert ["1", "features.1.0", "8x8x16", "1,024", "8"] in [line.split() for line in lines]
    assert ["2", "features.3.0", "16x4x8", "512", "16"] in [line.split() for line in lines]
    (left_out, far) = (line for line in lines if ("features.3.0" in line and "x" not in line) or "weights" in line)
    lines = printed(capsys, "check", "mine.yaml").splitlines()
    assert [line for line in lines if line.startswith("NOTE ")] == [
        f"NOTE     models.early: {note}" for note in (left_out, far)
    ]


def test_disk_space_estimate_bounds_real_dumps(tiny):
    """Against the feature dumps of the workflow."""
    experiment = read_experiment(TINY)
    size = preview.data_size(experiment, fingerprint_inputs(experiment))
    layers = preview.network_of(experiment, size, "small").layers
    estimated = preview.dump_bytes(experiment, size, "small", layers)
    written = 0
    for path in tiny.results.glob("*/features/*/*.h5"):
        with h5py.File(path) as file:
            written += sum(values.nbytes for name, values in file.items() if name.startswith("layer"))
    assert written <= estimated < 4 * written  # the attacked images are known only after splitting


def test_check_valid_configuration_passes(folder, capsys):
    lines = printed(capsys, "check", "mine.yaml").splitlines()
    (warning,) = (line for line in lines if not line.startswith("ok "))
    assert warning.startswith("WARNING  models.vit: "), "its weights are random"
    assert "chance" in warning
    layers = "4 layers, encoder.layers.encoder_layer_0 to encoder.layers.encoder_layer_3; right on "
    assert any(line.startswith(f"ok       models.vit: {layers}") for line in lines)
    assert any(line.startswith("ok       data: 1,797 images of 10 classes, 32x32 pixels") for line in lines)


def test_check_doubtful_network_warns(folder, capsys):
    weights = torch.load(folder / "vit.pth")
    torch.save({name: values * (name != "heads.head.weight") for name, values in weights.items()}, folder / "vit.pth")
    lines = printed(capsys, "check", "mine.yaml").splitlines()
    warning, chance = (line for line in lines if not line.startswith("ok "))
    assert warning == f"WARNING  models.vit: {DOUBTS['gradient']}"
    assert "chance" in chance


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": PRETRAINED | {"factory": "nowhere:at_all"}}, "no module 'nowhere'"),
        ({"model": PRETRAINED | {"checkpoint": "none.pth"}}, "none.pth cannot be read"),
        ({"attacks": {}}, "attacks: dictionary should have at least 1 item"),
    ],
)
def test_invalid_configuration_is_reported_by_every_command(folder, changes, said):
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
def test_check_invalid_network_is_reported_beside_valid_ones(folder, capsys, changes, said):
    write(folder, **changes)
    assert "correct models.vit" in refused("check", "mine.yaml")
    lines = capsys.readouterr().out
    assert f"WRONG    models.vit: {said}" in lines.replace("vit.pth does", "does")
    assert "ok       models.small: 8 layers" in lines


def test_configuration_missing_or_malformed_is_reported(tmp_path):
    assert "cannot be read" in refused("check", tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert "cannot be read" in refused("layers", tmp_path / "broken.yaml")
    (tmp_path / "text.yaml").write_text("text")
    assert "holds no configuration" in refused("check", tmp_path / "text.yaml")


def test_command_is_installed_as_featurepaths():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"featurepaths": "featurepaths.__main__:main"}


def test_check_unread_data_passes_with_notice(folder, capsys):
    write(folder, data={"source": "torchvision", "dataset": "FakeData", "test": {"size": 4}})
    lines = printed(capsys, "check", "mine.yaml")
    assert "ok       data: The numbers of images and classes of torchvision are known once it is read" in lines
    assert "--until data" in refused("layers", "mine.yaml")
