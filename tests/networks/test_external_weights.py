"""Weights that users bring: every kind of checkpoint is read without executing anything, or refused for what it is."""

import copy
import json
import os
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.external.files import read_weights
from featurepaths.networks.external.weights import fit_weights
from tests.checkpoint_kinds import END, KINDS, MARK, network, prefixed, table, update
from tests.experiments import ROOT


def loaded(built, path, key=None):
    """Load a file into a network and return what is said about it."""
    weights, notes = read_weights(path, key)
    return notes + fit_weights(built, weights, path)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_checkpoint_of_every_kind_is_read_or_refused_for_what_it_is(tmp_path, name):
    kind, right = KINDS[name], network(1)
    path = tmp_path / kind.file
    kind.save(path, right, network(2))
    right = network(1)  # saving may have changed it
    built = network(3)
    if kind.outcome == "read":
        assert kind.said in " ".join(loaded(built, path, kind.key))
        tolerance = 1e-3 if name == "half precision" else 0
        for weight, value in right.state_dict().items():
            torch.testing.assert_close(built.state_dict()[weight], value, rtol=tolerance, atol=tolerance)
    else:
        with pytest.raises(FeaturePathsError, match=re.escape(kind.outcome)) as caught:
            loaded(built, path, kind.key)
        assert kind.file in str(caught.value)
        assert "safe_globals" not in str(caught.value)
        assert all(torch.equal(value, network(3).state_dict()[weight]) for weight, value in built.state_dict().items())


def test_page_has_table_of_checkpoints():
    text = (ROOT / "docs/networks-and-checkpoints.md").read_text()
    rows = [line for line in text.partition(MARK)[2].partition(END)[0].splitlines() if line.startswith("|")]
    assert rows == [line for line in table().splitlines() if line.startswith("|")]


def test_table_is_not_written_to_a_page_without_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARK}old\n{END}after\n")
    update(page, MARK, END, "new")
    assert page.read_text() == f"before\n{MARK}\nnew\n{END}after\n"
    for text in (f"before\n{MARK}", f"{END}after\n", f"{END}{MARK}"):
        page.write_text(text)
        with pytest.raises(ValueError, match=r"page\.md"):
            update(page, MARK, END, "new")
        assert page.read_text() == text


@pytest.mark.parametrize("prefix", ["model.", "net.encoder."])
def test_prefix_that_the_network_has_is_put_on(tmp_path, prefix):
    inner = network(3)
    wrapped = nn.Module()
    for part in prefix.split(".")[:-2]:
        wrapped.add_module(part, nn.Module())
    owner = wrapped.get_submodule(prefix.rpartition(".")[0].rpartition(".")[0])
    owner.add_module(prefix.split(".")[-2], inner)
    torch.save(prefixed("module.", network(1).state_dict()), tmp_path / "w.pth")
    notes = loaded(wrapped, tmp_path / "w.pth")
    assert torch.equal(inner.conv.weight, network(1).conv.weight)
    assert f"put on: {prefix}" in " ".join(notes)


def test_average_among_prefixes_is_preferred_and_named(tmp_path):
    content = prefixed("model.", network(2).state_dict()) | prefixed("ema_model.", network(1).state_dict())
    torch.save({"state_dict": content}, tmp_path / "w.ckpt")
    built = network(3)
    assert "taken off: ema_model." in " ".join(loaded(built, tmp_path / "w.ckpt"))
    assert torch.equal(built.conv.weight, network(1).conv.weight)
    loaded(built, tmp_path / "w.ckpt", "model")
    assert torch.equal(built.conv.weight, network(2).conv.weight)


@pytest.mark.parametrize("outer", [None, "model"])
def test_tensors_beside_a_state_dict_are_named(tmp_path, outer):
    content = {"backbone": network(1).state_dict(), "arcface.weight": torch.ones(3, 4)}
    torch.save({outer: content} if outer else content, tmp_path / "w.pth")
    built = network(3)
    prefix = f"{outer}." if outer else ""
    assert f"left out: {prefix}arcface.weight" in " ".join(loaded(built, tmp_path / "w.pth"))
    assert torch.equal(built.conv.weight, network(1).conv.weight)


@pytest.mark.parametrize("outer", [None, "state_dict"])
def test_dict_with_tensors_among_more_weights_is_not_taken_for_them(tmp_path, outer):
    content = network(1).state_dict() | {"centres": {"a": torch.ones(3), "b": torch.ones(3)}}
    torch.save({outer: content} if outer else content, tmp_path / "w.pth")
    built = network(3)
    assert "centres" in " ".join(loaded(built, tmp_path / "w.pth"))
    assert torch.equal(built.conv.weight, network(1).conv.weight)
    weights, _ = read_weights(tmp_path / "w.pth", f"{outer}.centres" if outer else "centres")
    assert set(weights) == {"a", "b"}


def test_more_tensors_beside_a_known_key_are_not_taken_for_the_weights(tmp_path):
    torch.save({"state_dict": {"weight": torch.ones(2)}} | {name: torch.ones(1) for name in "abc"}, tmp_path / "w.pth")
    weights, notes = read_weights(tmp_path / "w.pth")
    assert set(weights) == {"weight"}
    assert "left out: a, b, c" in " ".join(notes)


def test_unknown_key_lists_those_there_are(tmp_path):
    torch.save({"state_dict": network(1).state_dict(), "ema": network(2).state_dict()}, tmp_path / "w.pth")
    with pytest.raises(FeaturePathsError, match=r"'swa'.*ema, state_dict"):
        read_weights(tmp_path / "w.pth", "swa")


def test_layer_more_than_the_network_has_is_not_left_out(tmp_path):
    """Its names are unlike the network's only in a number."""
    deep = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    torch.save(deep.state_dict(), tmp_path / "w.pth")
    with pytest.raises(FeaturePathsError, match=r"unknown to the network: 2\.weight, 2\.bias"):
        loaded(deep[:2], tmp_path / "w.pth")


class Evil:
    """An object that runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("dump", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_is_refused_and_not_executed(tmp_path, dump):
    path = tmp_path / "evil.pth"
    dump({"state_dict": network(0).state_dict(), "more": Evil(tmp_path / "executed")}, path)
    with pytest.raises(FeaturePathsError, match="without executing"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_truncated_file_is_reported(tmp_path, suffix, share):
    path = tmp_path / f"weights{suffix}"
    weights = {name: value.clone() for name, value in network(0).state_dict().items()}
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FeaturePathsError, match=str(path)):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [([torch.zeros(3)], "list"), ({}, "dict"), ({"epoch": 3, "weights": {"a": 1}}, "epoch, weights")],
)
def test_file_without_state_dict_is_reported(tmp_path, content, said):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(FeaturePathsError, match=said):
        read_weights(tmp_path / "odd.pt")


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(FeaturePathsError, match=r"none.pt"):
        read_weights(tmp_path / "none.pt")


def test_weights_that_do_not_fit_are_named_and_nothing_is_loaded(tmp_path):
    def built():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))

    weights = copy.deepcopy(built().state_dict())
    weights["3.weight"] = torch.zeros(5, 16)
    weights["4.weight"] = weights.pop("0.bias")
    network = built()
    with pytest.raises(FeaturePathsError) as caught:
        fit_weights(network, weights, tmp_path / "a.pt")
    text = str(caught.value)
    assert "1 missing in the file: 0.bias" in text
    assert "1 unknown to the network: 4.weight" in text
    assert "1 of another shape: 3.weight [5, 16] in the file, [2, 16] in the network" in text
    assert torch.equal(network[0].weight, built()[0].weight)


def test_json_with_braces_is_not_taken_for_safetensors(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": 1, "b": {"c": {}}}))
    with pytest.raises(FeaturePathsError, match="JSON"):
        read_weights(tmp_path / "a.json")


def test_weights_of_transformers_are_left_to_its_own_loader(tmp_path):
    class OfTransformers(nn.Linear):
        @classmethod
        def from_pretrained(cls):
            raise NotImplementedError

    with pytest.raises(FeaturePathsError, match=r"factory: transformers:OfTransformers\.from_pretrained"):
        fit_weights(OfTransformers(2, 2), {"other.name": torch.zeros(2)}, tmp_path / "model.safetensors")


def test_statistics_that_are_missing_are_not_left_as_built(tmp_path):
    weights = {name: value for name, value in network(1).state_dict().items() if "running_var" not in name}
    with pytest.raises(FeaturePathsError, match=r"1 missing in the file: norm\.running_var"):
        fit_weights(network(2), weights, tmp_path / "w.pth")
