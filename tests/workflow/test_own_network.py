"""A network of one's own through Snakemake: taken as it is, attacked and defended as any other."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import torchvision

from featurepaths.networks.warnings import DOUBTS
from tests.processes import Workflow, jobs

NETS = """
import torchvision
from torch import nn


def transformer(layers):
    return torchvision.models.VisionTransformer(32, 8, layers, 2, 16, 32, num_classes=10)


def shallow():
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(200, 10), nn.Softmax(1)
    )
"""
ADAPTIVE = {
    "attack": "apgd",
    "max_images": 20,
    "iterations": 2,
    "losses": ["ce"],
    "n_targets": 0,
    "controls": None,
}
SHALLOW = {
    "name": "shallow",
    "data": {"source": "digits", "test": 0.05, "calibration": 0.05},
    "models": {"net": {"factory": "nets:shallow", "layers": ["1", "2"]}},
    "attacks": {"apgd": {"eps": "1/20", "iterations": 2, "stopping_rule": ["max-loss"]}},
    "calibration": {"attack": "apgd", "stopping_rule": "max-loss"},
    "features": {"poolings": ["mean"]},
    "adaptive": ADAPTIVE,
}
EXPERIMENT = {
    "name": "own",
    "seeds": [4],
    "data": {"source": "digits", "test": 0.1, "calibration": 0.1},
    "models": {
        "vit": {
            "factory": "nets:transformer",
            "arguments": {"layers": 4},
            "checkpoint": "vit.pth",
            "mean": [0.3, 0.3, 0.3],
            "std": [0.4, 0.4, 0.4],
        }
    },
    "attacks": {"apgd": {"eps": "1/20", "iterations": 2, "stopping_rule": ["max-loss"]}},
    "calibration": {"attack": "apgd", "stopping_rule": "max-loss"},
    "features": {"poolings": ["mean"]},
    "detectors": ["confidence"],
    "adaptive": ADAPTIVE,
}


def network(seed=0):
    torch.manual_seed(seed)
    module = torchvision.models.VisionTransformer(32, 8, 4, 2, 16, 32, num_classes=10).eval()
    torch.nn.init.normal_(module.heads.head.weight)  # torchvision's are zeros
    return module


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "nets.py").write_text(NETS)
    weights = {f"module.{name}": value for name, value in network().state_dict().items()}
    torch.save({"epoch": 1, "state_dict": weights}, folder / "vit.pth")
    workflow = Workflow(folder, EXPERIMENT)
    workflow()
    return workflow


def copied(own, folder):
    """Return the experiment in another folder, with the results of `own`, which are not touched."""
    for name in ("nets.py", "vit.pth"):
        shutil.copy(own.folder / name, folder)
    (folder / "results").symlink_to(own.folder / "results")
    return Workflow(folder, EXPERIMENT)


def test_every_table_is_there_and_no_training(own):
    names = {path.stem for path in (own.results / "tables").glob("*.csv")}
    assert {"accuracy", "architecture", "comparison", "detection", "evasion", "recognition", "summary"} <= names
    assert not (own.results / "vit-pretrained-s4/training.csv").exists()
    assert not (own.results / "figures/training.png").exists()
    accuracy = pd.read_csv(own.results / "tables/accuracy.csv")
    assert set(accuracy["training"]) == {"pretrained"}
    assert set(accuracy["model"]) == {"vit"}
    (row,) = pd.read_csv(own.results / "tables/architecture.csv").to_dict("records")
    assert (row["intermediate_dim"], row["blocks"]) == ("16×17", 4)


def test_what_is_measured_is_the_network_that_was_given(own):
    with h5py.File(own.results / "data.h5") as file:
        rows = np.flatnonzero(file["split"][:] == b"test")
        images, labels = file["images"][rows], file["labels"][rows]
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    taps = []
    given = network()
    for block in given.encoder.layers:
        block.register_forward_hook(lambda module, inputs, output: taps.append(output))
    with torch.no_grad():
        logits = given((pixels - 0.3) / 0.4)
    accuracy = pd.read_csv(own.results / "tables/accuracy.csv")
    undefended = accuracy[accuracy["method"] == "undefended"].iloc[0]
    assert undefended["clean_accuracy"] == pytest.approx((logits.argmax(dim=1).numpy() == labels).mean())
    with h5py.File(own.results / "vit-pretrained-s4/features/mean/test.h5") as file:
        for number, tokens in enumerate(taps, start=1):
            np.testing.assert_allclose(file[f"layer{number}"][:], tokens.mean(dim=1).numpy(), rtol=2e-3, atol=2e-3)


def test_nothing_is_made_again_until_code_or_weights_change(own, tmp_path):
    workflow = copied(own, tmp_path)
    assert "Nothing to be done" in workflow("--dry-run")
    whole = jobs(workflow("--dry-run", "--forceall"))
    but_data = {rule: count for rule, count in whole.items() if rule != "data"}
    (tmp_path / "nets.py").write_text(NETS + "\n\nMORE = 1\n")
    assert jobs(workflow("--dry-run")) == but_data
    (tmp_path / "nets.py").write_text(NETS)
    assert "Nothing to be done" in workflow("--dry-run")
    torch.save(network(1).state_dict(), tmp_path / "vit.pth")
    assert jobs(workflow("--dry-run")) == but_data
    (tmp_path / "vit.pth").unlink()
    output = workflow("--dry-run", succeeds=False)
    assert "vit.pth cannot be read (No such file or directory)" in output
    assert "Traceback" not in output


def test_network_of_two_layers_and_probabilities_has_all_tables_and_a_warning(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    workflow = Workflow(tmp_path, SHALLOW)
    workflow()
    tables = workflow.results / "tables"
    assert len(pd.read_csv(tables / "combinations.csv")) == 0
    assert set(pd.read_csv(tables / "recognition.csv")["layers"].dropna()) == {"1+2"}
    assert DOUBTS["probabilities"] in (tables / "verdict.md").read_text()
    (log,) = workflow.folder.glob("results/shallow/*/logs/pretrained.log")
    assert DOUBTS["probabilities"] in log.read_text()
    for where in (tables / "verdict.md", *workflow.folder.glob("results/shallow/*/logs/evaluation.*.log")):
        assert "clean images: chance" in where.read_text()
    named = Workflow(tmp_path, SHALLOW | {"recognition": {"combinations": [1, 2, 3]}})
    output = named("--forcerun", "pretrained", succeeds=False)
    assert "recognition.combinations: there is no layer 3" in output
    assert "rule attack" not in output
