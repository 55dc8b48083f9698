"""Files that networks come from, named anywhere in the configuration, are part of their fingerprints."""

import copy
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
    files = PretrainedNetwork(**MODEL).external_files()
    assert set(files) == {"checkpoint", "own.pth", "vit/config.json", "vit/model.safetensors"}
    assert PretrainedNetwork(factory="nets:load", arguments={"path": "."}).external_files() == {}


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
