"""Data of one's own, and adversarial images that were made elsewhere, through Snakemake itself.

The experiment is that of docs/own-data.md, made by the blocks of that page.
"""

import copy
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from featurepaths.data.array_files import contents_of_arrays
from featurepaths.data.datasets import load_made, load_torchvision
from featurepaths.experiment.config.messages import read_experiment
from tests.experiments import ROOT
from tests.processes import Workflow, jobs

BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", (ROOT / "docs/own-data.md").read_text(), re.S)
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
YAML = [yaml.safe_load(block) for kind, block in BLOCKS if kind == "yaml"]
(MINE,) = [block for block in YAML if "name" in block]
EXPERIMENT = {**MINE, "detectors": ["confidence"]}
(ATTACKS,) = [block["attacks"] for block in YAML if set(block) == {"attacks"}]
DATA = [block["data"] for block in YAML if set(block) == {"data"}]
THEIRS = {"attack": 1, "attacked_features": 1, "attacked_paths": 1, "evaluation": 1,
          "run_figures": 1, "detector_evaluation": 1, "comparison": 1, "comparison_figures": 1, "tables": 1,
          "explorer": 1, "configuration": 1}  # fmt: skip
"""Jobs that depend on precomputed adversarial images of the test split only."""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    workflow = Workflow(folder, EXPERIMENT)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in PYTHON:
            if named := re.match(r"# (own_\w+\.py)", block):
                Path(named[1]).write_text(block)
                continue
            if "results/mine" in block:
                workflow()
            exec(block, names)
    workflow = Workflow(folder, {**EXPERIMENT, "attacks": ATTACKS})
    workflow()
    return workflow


def test_the_page_describes_data_that_can_be_read(own, tmp_path, monkeypatch):
    monkeypatch.chdir(own.folder)
    read = []
    for given in DATA:
        data = read_experiment({**copy.deepcopy(EXPERIMENT), "data": given}).data
        read.append(getattr(data, "dataset", data.source))
        if data.source == "arrays":
            contents = contents_of_arrays(*data.options())
            assert (contents.images, contents.classes) == (1797, 10)
        elif data.source == "factory" and data.factory != "own_medmnist:pneumonia":
            parts, names = load_made(data.factory, data.arguments, None, None, tmp_path)
            assert (len(parts["test"][1]), names) == (200, ["horizontal", "vertical"])
        elif read[-1] == "FakeData":
            arguments = {part: {**data.arguments, **getattr(data, part)} for part in ("train", "test")}
            parts, _ = load_torchvision("FakeData", None, False, arguments, None, tmp_path)
            assert [len(labels) for _, labels in parts.values()] == [200, 100]
    files = ["folder", "arrays", "arrays", "arrays", "parquet"]
    assert read == [*files, "SVHN", "OxfordIIITPet", "FakeData", "factory", "factory"]


def test_arrays_become_splits(own):
    with h5py.File(own.results / "data.h5") as file, np.load(own.folder / "digits.npz") as arrays:
        assert file["images"].shape == (1797, 32, 32, 1)
        split = file["split"][:]
        assert (file["images"][:][split == b"test"][..., 0] == arrays["test_images"]).all(), "in the order of the file"
        assert (split == b"calibration").sum() == 140


def test_their_images_stand_beside_our_attack(own):
    with h5py.File(own.results / "small-standard-s0/attacks/test.theirs.h5") as file:
        assert len(file["index"]) == 100
        norms = file["returned/norm"][:]
        assert 0.09 < norms.min() <= norms.max() <= 0.1 + 1e-6
        success = file["success"][:].sum() / file["clean_correct"][:].sum()
    attacks = pd.read_csv(own.results / "tables/attacks.csv").set_index("attack")
    assert attacks.loc["theirs", ["stopping_rule", "n"]].tolist() == ["returned", 100]
    assert attacks.loc["theirs", "success_rate"] == pytest.approx(success)
    assert np.isnan(attacks.loc["theirs", "n_queries"]), "unknown"
    assert attacks.loc["apgd", "n_queries"] > 0
    recognition = pd.read_csv(own.results / "tables/recognition.csv")
    assert set(recognition.query("attack == 'theirs'")["protocol"].dropna()) == {"paper", "held-out"}
    matrix = pd.read_csv(own.results / "tables/calibration_matrix.csv")
    assert set(matrix["calibrated_on"]) == {"apgd.max-loss"}
    assert set(matrix["tested_on"]) == {"apgd.max-loss", "theirs.returned"}


def copied(own, folder, **changes):
    """Return an experiment with the results of `own`, which are not touched, and copies of its files."""
    workflow = Workflow(folder, {**copy.deepcopy(EXPERIMENT), "attacks": ATTACKS, **changes})
    for name in ("digits.npz", "theirs.npz"):
        shutil.copy(own.folder / name, folder)
    (folder / "results").symlink_to(own.folder / "results")
    return workflow


def test_what_did_not_change_starts_nothing(own, tmp_path):
    assert "Nothing to be done" in copied(own, tmp_path)("--dry-run"), "files of another date"


def test_where_files_lie_starts_nothing(own, tmp_path):
    workflow = copied(own, tmp_path, data={**EXPERIMENT["data"], "train": "moved.npz"},
                      attacks={**ATTACKS, "theirs": {**ATTACKS["theirs"], "test": "elsewhere.npz"}})  # fmt: skip
    shutil.copy(tmp_path / "digits.npz", tmp_path / "moved.npz")
    (tmp_path / "theirs.npz").rename(tmp_path / "elsewhere.npz")
    assert jobs(workflow("--dry-run")) == {"configuration": 1}, "the record of what was configured"


def edit(path, name, change):
    with np.load(path) as arrays:
        copies = dict(arrays)
    copies[name] = change(copies[name])
    np.savez(path, **copies)


def test_an_edited_array_makes_everything_anew(own, tmp_path):
    workflow = copied(own, tmp_path)
    whole = jobs(workflow("--dry-run", "--forceall"))
    edit(tmp_path / "digits.npz", "test_labels", lambda labels: labels[::-1])
    assert jobs(workflow("--dry-run")) == whole
    assert whole["data"] == 1


def test_edited_adversarial_images_make_anew_what_depends_on_them(own, tmp_path):
    workflow = copied(own, tmp_path)
    edit(tmp_path / "theirs.npz", "adversarial", lambda images: images / 2)
    assert jobs(workflow("--dry-run")) == THEIRS


def test_files_that_cannot_be_used_are_told_before_any_job(own, tmp_path):
    workflow = copied(own, tmp_path)
    edit(tmp_path / "theirs.npz", "index", np.zeros_like)
    output = workflow("--dry-run", succeeds=False)
    assert re.search(r"'index' in theirs\.npz .*\(0\)", output)
    (tmp_path / "digits.npz").unlink()
    output += workflow("--dry-run", succeeds=False)
    assert "There is no file digits.npz" in output
    assert "Traceback" not in output


FACTORY = """
from own_helpers import labels
import numpy as np
def make(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    return (images, labels(count)), (images, labels(count)), ["even", "odd"]
"""


def test_a_function_in_the_working_directory_or_on_the_path(tmp_path, monkeypatch):
    data = {"source": "factory", "factory": "own_module:make", "arguments": {"count": 40}, "calibration": 0.2}
    workflow = Workflow(tmp_path / "here", {**copy.deepcopy(EXPERIMENT), "data": data})
    module = workflow.folder / "own_module.py"
    module.write_text(FACTORY)
    (tmp_path / "path").mkdir()
    (tmp_path / "path/own_helpers.py").write_text("def labels(count):\n    return [row % 2 for row in range(count)]\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    path = "results/mine/data.h5"
    workflow(path)
    with h5py.File(workflow.folder / path) as file:
        assert file["class_names"].asstr()[:].tolist() == ["even", "odd"]
        assert file.attrs["provenance"] == "own_module:make"
    assert "Nothing to be done" in workflow("--dry-run", path)
    module.write_text(FACTORY + "# edited\n")
    assert jobs(workflow("--dry-run", path)) == {"data": 1}
    module.write_text(FACTORY.replace("own_helpers", "own_hlpers"))
    output = workflow(path, succeeds=False) + (workflow.results / "logs/data.log").read_text()
    assert "own_module:make cannot be imported (ModuleNotFoundError: No module named 'own_hlpers'" in output
    assert "Traceback" not in output
