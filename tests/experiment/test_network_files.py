"""Files that networks come from, named anywhere in the configuration, are part of their fingerprints."""

import copy
import shutil
import sys

import pytest

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.config.networks import PretrainedNetwork
from featurepaths.experiment.external import fingerprint_inputs
from tests.experiments import small_experiment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a factory, a checkpoint, a folder as of transformers, and a file that is read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "nets.py").write_text("def load(**options):\n    pass\n")
    (tmp_path / "vit/.git").mkdir(parents=True)
    for name in ("vit/config.json", "vit/model.safetensors", "vit/.git/index", "own.pth", "net.pt", "other.pt"):
        (tmp_path / name).write_text(name)
    return tmp_path


MODEL = {
    "factory": "nets:load",
    "arguments": {"pretrained_model_name_or_path": "vit", "options": [{"name": "resnet"}, "x" * 5000, ""], "depth": 3},
    "checkpoint": "net.pt",
    "reads": ["own.pth"],
}


def digests(model=MODEL):
    experiment = read_experiment(small_experiment("e", models={"net": copy.deepcopy(model)}, training=None))
    return fingerprint_inputs(experiment).networks["net"]


def test_external_files_are_those_the_configuration_names(folder):
    files = PretrainedNetwork(**MODEL).external_files().values()
    assert {str(file) for file in files} == {"net.pt", "own.pth", "vit/config.json", "vit/model.safetensors"}
    assert PretrainedNetwork(factory="nets:load", arguments={"path": "."}).external_files() == {}


@pytest.mark.parametrize("key", ["reads", "arguments"])
def test_file_called_checkpoint_does_not_hide_the_weights(folder, key):
    (folder / "checkpoint").write_text("checkpoint")
    model = MODEL | {key: ["checkpoint"] if key == "reads" else {"path": "checkpoint"}}
    before = digests(model)
    (folder / "net.pt").write_text("replaced")
    between = digests(model)
    (folder / "checkpoint").write_text("replaced")
    assert len({before["weights"], between["weights"], digests(model)["weights"]}) == 3


@pytest.mark.parametrize("path", [".", "..", "/", "vit/.."])
def test_folder_with_the_working_directory_is_refused_under_reads(folder, path):
    with pytest.raises(FeaturePathsError, match=r"models\.net\.reads.*working directory"):
        digests(MODEL | {"reads": ["own.pth", path]})


def test_moved_files_keep_the_fingerprint_and_exchanged_ones_do_not(folder):
    model = MODEL | {"reads": ["own.pth", "vit"]}
    before = digests(model)
    (folder / "moved").mkdir()
    for name in ("own.pth", "vit", "net.pt"):
        shutil.copytree(name, f"moved/{name}") if name == "vit" else shutil.copy(name, f"moved/{name}")
    moved = model | {"reads": ["moved/own.pth", str(folder / "moved/vit")], "checkpoint": "moved/net.pt"}
    assert digests(moved) == before
    assert digests(model | {"reads": ["net.pt", "vit"], "checkpoint": "own.pth"}) != before
    (folder / "moved/vit/config.json").rename(folder / "moved/vit/renamed.json")
    assert digests(moved) != before


@pytest.mark.parametrize("name", ["vit/model.safetensors", "own.pth", "net.pt"])
def test_replaced_file_changes_the_fingerprint_and_others_do_not(folder, name):
    before = digests()
    (folder / "vit/.git/index").write_text("changed")
    (folder / "other.pt").write_text("changed")
    assert digests() == before
    (folder / name).write_text("replaced")
    assert digests()["weights"] != before["weights"]
    assert digests()["code"] == before["code"]


def test_network_without_files_has_no_digest_of_them(folder):
    assert digests({"factory": "nets:load"})["weights"] is None


def test_missing_file_that_is_read_is_reported(folder):
    with pytest.raises(FeaturePathsError, match=r"none\.pth cannot be read"):
        digests(MODEL | {"reads": ["none.pth"]})
