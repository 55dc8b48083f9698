"""Networks that users bring, as the stage takes them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from featurepaths.data.splits import write_splits
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.runtime.entry_points import factory_digest
from featurepaths.stages import cli, pretrained
from featurepaths.store.fingerprints import digest_of_file, digest_of_names
from featurepaths.store.origin import Origin

FACTORIES = """
import torch
import torchvision
from torch import nn


def transformer(num_classes):
    return torchvision.models.VisionTransformer(16, 8, 3, 2, 16, 32, num_classes=num_classes)


def text(num_classes):
    return "a network"


def broken(num_classes):
    return 1 / 0


class Noisy(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.inner = transformer(num_classes)

    def forward(self, images):
        return self.inner(images) + torch.rand(1)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a module of factories and a data set of three classes, 16x16."""
    random = np.random.default_rng(0)
    parts = {
        part: (random.integers(256, size=(12, 16, 16, 3), dtype=np.uint8), np.arange(12) % 3)
        for part in ("train", "test")
    }
    write_splits(tmp_path / "data.h5", parts, ["a", "b", "c"], 0.25, 0, Origin("data", "k"), "noise")
    (tmp_path / "ours.py").write_text(FACTORIES)
    return tmp_path


@pytest.fixture
def take(folder, monkeypatch):
    """Return the stage as a function; modules of the folder are forgotten in the end."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(name="transformer", weights=None, seed=5, code=None, named_layers=None, **changed):
        model = {"factory": f"ours:{name}", "arguments": {"num_classes": 3}, "checkpoint": weights, **changed}
        files = {"checkpoint": digest_of_file(Path(weights))} if weights else None
        settings = {
            **{"model": model, "code": code or factory_digest(model["factory"]), "seed": seed},
            **{"weights": files and digest_of_names(files), "named_layers": named_layers or {}},
        }
        words = ["--settings", json.dumps(settings), "--data", "data.h5", "--checkpoint", "run/checkpoint.safetensors"]
        pretrained.main(cli.parser("pretrained").parse_args(words))

    yield run
    sys.modules.pop("ours", None)


def made():
    return load_checkpoint(Path("run/checkpoint.safetensors"))


def test_a_checkpoint_answers_as_the_network_that_was_given(folder, take):
    torch.manual_seed(1)
    module = {}
    exec(FACTORIES, module)
    own = module["transformer"](3).eval()
    torch.save({"state_dict": {f"module.{name}": value for name, value in own.state_dict().items()}}, "own.pt")
    take(weights="own.pt", mean=["0.5", "1/4", "0.1"], std=["1/2", "0.5", "2"])
    network, description = made()
    images = torch.rand(4, 3, 16, 16)
    mean, std = torch.tensor([0.5, 0.25, 0.1]), torch.tensor([0.5, 0.5, 2])
    with torch.no_grad():
        expected = own((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        assert torch.equal(network(images), expected)
    assert [layer["shape"] for layer in description["layers"]] == [[16, 5]] * 3


def test_images_are_resized_within_the_network(folder, take):
    take(size=16)
    plain, _ = made()
    big = torch.rand(2, 3, 40, 40)
    resized = torch.nn.functional.interpolate(big, (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert torch.equal(plain(big), plain(resized))


def test_the_weights_of_the_constructor_are_drawn_by_the_seed(folder, take):
    take()
    first, _ = made()
    take()
    second, _ = made()
    take(seed=6)
    third, _ = made()
    of_seed_5 = dict(second.named_parameters())
    assert all(torch.equal(value, of_seed_5[name]) for name, value in first.named_parameters())
    assert not torch.equal(third.network.conv_proj.weight, first.network.conv_proj.weight)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "text"}, "a str, not a torch.nn.Module"),
        ({"name": "broken"}, "ZeroDivisionError: division by zero"),
        ({"name": "Noisy"}, "different logits for the same images"),
        ({"arguments": {"num_classes": 4}}, "4 logits, but the data have 3 classes"),
        ({"arguments": {"classes": 3}}, "unexpected keyword argument"),
        ({"layers": ["encoder.ln", "nose"]}, "no module 'nose'"),
        ({"mean": ["0"], "std": ["1"]}, "the images have 3 channels, not 1"),
        ({"size": 18}, "images of 3x18x18"),
        ({"code": "0" * 20}, "changed meanwhile"),
        (
            {"named_layers": {"detection.layers": 3, "recognition.combinations": 4}},
            "recognition.combinations: there is no layer 4; ours:transformer has 3 layers",
        ),
    ],
)
def test_what_cannot_be_taken_is_told_and_nothing_is_left(folder, take, options, said):
    with pytest.raises(FeaturePathsError, match=re.escape(said)):
        take(**options)
    assert not (folder / "run").exists() or list((folder / "run").iterdir()) == []


def test_weights_of_another_network_or_with_nan_are_told(folder, take):
    module = {}
    exec(FACTORIES, module)
    torch.save(module["transformer"](4).state_dict(), "other.pt")
    with pytest.raises(FeaturePathsError, match=r"other\.pt does not fit the network:") as caught:
        take(weights="other.pt")
    assert "of another shape: heads.head.weight [4, 16] in the file, [3, 16] in the network" in str(caught.value)
    weights = module["transformer"](3).state_dict()
    weights["class_token"][0, 0, 0] = torch.nan
    torch.save(weights, "nan.pt")
    with pytest.raises(FeaturePathsError, match=r"nan\.pt: a weight is not a finite number, in network\.class_token"):
        take(weights="nan.pt")
