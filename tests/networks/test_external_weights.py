"""Weights that users bring: read without executing anything, and told where they do not fit."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.external.weights import fit_weights, read_weights


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def other():
    made = network()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def saved(path, content):
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return path


WRAPPED = {
    "plain": lambda weights: weights,
    "nested": lambda weights: {"epoch": 3, "state_dict": weights, "best": 0.5},
    "nested twice": lambda weights: {"model": {"state_dict": weights}, "args": {"lr": 1}},
    "of data parallelism": lambda weights: {f"module.{name}": value for name, value in weights.items()},
    "compiled, in parallel": lambda weights: {
        "state_dict": {f"module._orig_mod.{name}": value for name, value in weights.items()}
    },
    "without counters": lambda weights: {name: value for name, value in weights.items() if "num_batches" not in name},
}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_read_however_they_are_wrapped(tmp_path, wrap, suffix):
    content = wrap(other().state_dict())
    if suffix == ".safetensors" and not all(isinstance(value, torch.Tensor) for value in content.values()):
        return  # safetensors holds tensors only
    made = network()
    path = saved(tmp_path / f"weights{suffix}", content)
    fit_weights(made, read_weights(path), path)
    for name, value in other().state_dict().items():
        assert torch.equal(made.state_dict()[name], value)


class Evil:
    """What a pickle executes when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("dump", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_is_refused_and_not_executed(tmp_path, dump):
    path = tmp_path / "evil.pth"
    dump({"state_dict": network().state_dict(), "more": Evil(tmp_path / "executed")}, path)
    with pytest.raises(FeaturePathsError, match="without executing"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(FeaturePathsError, match=r"torch.save\(network.state_dict"):
        read_weights(tmp_path / "whole.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_file_is_told(tmp_path, suffix, share):
    path = saved(tmp_path / f"weights{suffix}", other().state_dict())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FeaturePathsError, match=str(path)):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.zeros(3)], "list"),
        ({}, "dict"),
        ({"epoch": 3, "weights": {"a": torch.zeros(1)}}, "epoch, weights"),
    ],
)
def test_what_holds_no_state_dict_is_told(tmp_path, content, said):
    with pytest.raises(FeaturePathsError, match=said):
        read_weights(saved(tmp_path / "odd.pt", content))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FeaturePathsError, match=r"none.pt"):
        read_weights(tmp_path / "none.pt")


def test_what_does_not_fit_is_named_and_nothing_is_loaded(tmp_path):
    weights = other().state_dict()
    weights["3.weight"] = torch.zeros(5, 16)
    weights["4.weight"] = weights.pop("0.bias")
    made = network()
    with pytest.raises(FeaturePathsError) as caught:
        fit_weights(made, weights, tmp_path / "a.pt")
    text = str(caught.value)
    assert "1 missing in the file: 0.bias" in text
    assert "1 unknown to the network: 4.weight" in text
    assert "1 of another shape: 3.weight [5, 16] instead of [2, 16]" in text
    assert torch.equal(made[0].weight, network()[0].weight)
