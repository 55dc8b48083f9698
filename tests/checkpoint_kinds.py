"""Kinds of checkpoints as other projects write them, small and valid, and what comes of each; a page of docs has them.

python -m tests.checkpoint_kinds docs/networks-and-checkpoints.md
"""

import argparse
import collections
import datetime
import gzip
import pathlib
import pickle
import sys
import tarfile
import types
import zipfile
from importlib.metadata import version
from typing import NamedTuple

import h5py
import numpy as np
import torch
from safetensors.torch import save_file, save_model
from torch import nn
from torch.distributed.tensor import distribute_tensor, init_device_mesh

MARK = "<!-- python -m tests.checkpoint_kinds writes what follows, up to the next mark -->\n"
END = "<!-- the end of the table of checkpoints -->\n"


class Tied(nn.Module):
    """Two names for one weight, as safetensors stores only once; a buffer that its constructor sets; a mask."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 4, bias=False)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.head.weight
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]))
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    def forward(self, images):
        maps = self.norm(self.conv(images - self.mean.view(3, 1, 1))).relu()
        return self.tied(self.head(maps.mean(dim=(2, 3))))


def network(seed):
    """A network whose weights the seed draws; every tensor of two seeds differs, but for the constants."""
    torch.manual_seed(seed)
    built = Tied()
    for value in (*built.parameters(), built.norm.running_mean):
        nn.init.normal_(value)
    return built


def prefixed(prefix, weights):
    """Return weights whose names begin with a prefix."""
    return {prefix + name: value for name, value in weights.items()}


def optimiser_state(built):
    """Return the state of an optimiser after a step."""
    optimiser = torch.optim.SGD(built.parameters(), 0.1, momentum=0.9)
    built(torch.rand(2, 3, 8, 8)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


class Kind(NamedTuple):
    """How a file is written, with the right weights and others, and what comes of it.

    `save(path, right, other)` takes two networks. `outcome` is ``read``, or a word of the message that refuses it.
    """

    save: object
    outcome: str = "read"
    file: str = "weights.pth"
    key: str | None = None
    said: str = ""
    """A part of what is said about it."""


def saved(content):
    """Return a function that saves a dict made from the state dicts of both networks."""

    def save(path, right, other):
        torch.save(content(right.state_dict(), other.state_dict()), path)

    return save


def zipped(path, right, other):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/weights.pth", b"")


def in_tar(path, right, other):
    path.with_name("w").write_bytes(b"0")
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_name("w"))


def exported(path, right, other):
    torch.export.save(torch.export.export(right.eval(), (torch.rand(2, 3, 8, 8),)), path)


def sharded(path, right, other):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))
    torch.save({name: distribute_tensor(value, mesh) for name, value in right.state_dict().items()}, path)
    torch.distributed.destroy_process_group()


def keras(path, right, other):
    with h5py.File(path, "w") as file:
        file["kernel"] = np.zeros(3)


def without(weights, end):
    return {name: value for name, value in weights.items() if not f".{name}".endswith(f".{end}")}


HYPERPARAMETERS = {
    "args": argparse.Namespace(lr=0.1, data=pathlib.Path("data")),
    "config": types.SimpleNamespace(when=datetime.datetime(2024, 1, 1)),
    "best": np.float64(0.5),
    "scores": np.arange(3.0),
    "history": collections.defaultdict(list, {"loss": [1, 2]}),
    "order": collections.OrderedDict(a=1),
}
KINDS = {
    "state dict": Kind(saved(lambda right, _: right)),
    "state dict, in the format of PyTorch before 1.6": Kind(
        lambda path, right, _: torch.save(right.state_dict(), path, _use_new_zipfile_serialization=False)
    ),
    "safetensors": Kind(
        lambda path, right, _: save_file({n: v.clone() for n, v in right.state_dict().items()}, path),
        file="weights.safetensors",
    ),
    "safetensors of save_model, which stores tied weights once": Kind(
        lambda path, right, _: save_model(right, str(path)), file="weights.safetensors"
    ),
    "`state_dict` beside epoch and a tensor (PyTorch's ImageNet example)": Kind(
        saved(lambda right, _: {"epoch": 3, "arch": "net", "state_dict": right, "best_acc1": torch.tensor(0.5)})
    ),
    "`net`, `acc`, `epoch`": Kind(saved(lambda right, _: {"net": right, "acc": 0.5, "epoch": 3})),
    "nested twice": Kind(saved(lambda right, _: {"model": {"state_dict": right}, "args": {"lr": 1}})),
    "one state dict under an unknown key": Kind(saved(lambda right, _: {"weights_of_mine": right, "epoch": 3})),
    "optimiser state beside the weights": Kind(
        lambda path, right, other: torch.save(
            {
                "optimizer": optimiser_state(other),
                "lr_scheduler": {"last": torch.zeros(1)},
                "model": right.state_dict(),
            },
            path,
        )
    ),
    "Namespace, NumPy scalar and array, Path, datetime, defaultdict, OrderedDict beside the weights": Kind(
        saved(lambda right, _: {**HYPERPARAMETERS, "state_dict": right})
    ),
    "entries that are no tensors among the weights": Kind(saved(lambda right, _: {**right, "epoch": 3}), said="epoch"),
    "`state_dict` and `state_dict_ema` (timm)": Kind(
        saved(lambda right, other: {"state_dict": other, "state_dict_ema": right, "args": HYPERPARAMETERS["args"]}),
        said="weights: state_dict_ema",
    ),
    "the same, `checkpoint_key: state_dict`": Kind(
        saved(lambda right, other: {"state_dict": right, "state_dict_ema": other}),
        key="state_dict",
        said="not state_dict_ema",
    ),
    "`model` and `model_ema` (torchvision)": Kind(
        saved(
            lambda right, other: {
                "model": other,
                "model_ema": prefixed("module.", right) | {"n_averaged": torch.tensor(7)},
                "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
            }
        ),
        said="n_averaged [7]",
    ),
    "`module.*` and `n_averaged` (stochastic weight averaging)": Kind(
        lambda path, right, _: torch.save(torch.optim.swa_utils.AveragedModel(right).state_dict(), path),
        said="n_averaged [0]",
    ),
    "`module.` (data parallelism)": Kind(saved(lambda right, _: prefixed("module.", right)), said="taken off: module."),
    "`module._orig_mod.` (compiled, in parallel)": Kind(saved(lambda right, _: prefixed("module._orig_mod.", right))),
    "`model.` beside a metric and class weights (Lightning)": Kind(
        saved(
            lambda right, _: {
                "state_dict": prefixed("model.", right)
                | {"train_acc.total": torch.tensor(3), "criterion.weight": torch.ones(4)},
                "pytorch-lightning_version": "2.4",
                "callbacks": {"EarlyStopping{'monitor': 'loss'}": {"best_score": torch.zeros(1)}},
                "loops": {"fit_loop": {"state_dict": {}}},
                "hyper_parameters": {"lr": 0.1},
            }
        ),
        file="last.ckpt",
        said="train_acc.total [3]",
    ),
    "`mu` and `sigma` beside the weights (RobustBench)": Kind(
        saved(lambda right, _: prefixed("module.", right) | {"mu": torch.tensor([0.5]), "sigma": torch.tensor([0.25])}),
        said="mu [0.5], sigma [0.25]",
    ),
    "`module.model.*`, `module.attacker.*`, `module.normalizer.*` (MadryLab's robustness)": Kind(
        saved(
            lambda right, _: {
                "model": prefixed("module.model.", right)
                | prefixed("module.attacker.model.", right)
                | {"module.normalizer.new_mean": torch.tensor([0.5, 0.25, 0.125]).view(3, 1, 1)}
            }
        ),
        said="module.normalizer.new_mean [0.5, 0.25, 0.125]",
    ),
    "without counters of batches (before PyTorch 0.4.1)": Kind(
        saved(lambda right, _: without(right, "num_batches_tracked"))
    ),
    "without a buffer that the constructor sets": Kind(
        saved(lambda right, _: without(right, "mean")), said="mean [0.4"
    ),
    "half precision": Kind(saved(lambda right, _: {name: value.half() for name, value in right.items()})),
    "`student.` and `teacher.` in one state dict": Kind(
        saved(lambda right, other: prefixed("student.", other) | prefixed("teacher.", right)), "checkpoint_key"
    ),
    "the same, `checkpoint_key: teacher`": Kind(
        saved(lambda right, other: prefixed("student.", other) | prefixed("teacher.", right)), key="teacher"
    ),
    "`last` and `best`": Kind(saved(lambda right, other: {"last": other, "best": right}), "last, best"),
    "the same, `checkpoint_key: best`": Kind(
        saved(lambda right, other: {"last": other, "best": right}), key="best", said="not last"
    ),
    "weights of another network": Kind(saved(lambda right, _: without(right, "conv.bias")), "1 missing in the file"),
    "weights with more in a module": Kind(
        saved(lambda right, _: right | {"conv.extra": torch.ones(1)}), "1 unknown to the network: conv.extra"
    ),
    "whole pickled network": Kind(lambda path, right, _: torch.save(nn.Linear(2, 2), path), "whole pickled network"),
    "whole pickled network, in the format of PyTorch before 1.6": Kind(
        lambda path, right, _: torch.save(nn.Linear(2, 2), path, _use_new_zipfile_serialization=False),
        "whole pickled network",
    ),
    "an object of another class beside the weights": Kind(
        saved(lambda right, _: {"state_dict": right, "fraction": collections.UserDict()}), "collections.UserDict"
    ),
    "pickle of a state dict, without `torch.save`": Kind(
        lambda path, right, _: path.write_bytes(pickle.dumps(right.state_dict())), "torch.save did not write"
    ),
    "sharded tensors (DTensor)": Kind(sharded, "DTensor"),
    "TorchScript": Kind(
        lambda path, right, _: torch.jit.trace(right.eval(), torch.rand(2, 3, 8, 8)).save(str(path)), "TorchScript"
    ),
    "exported program (`.pt2`)": Kind(exported, "exported program", file="program.pt2"),
    "index of several files": Kind(
        lambda path, *_: path.write_text('{"metadata": {}, "weight_map": {}}'),
        "JSON",
        file="model.safetensors.index.json",
    ),
    "tar archive": Kind(in_tar, "tar archive", file="weights.tar"),
    "zip archive of a checkpoint": Kind(zipped, "ordinary zip archive", file="weights.zip"),
    "compressed by gzip": Kind(lambda path, *_: path.write_bytes(gzip.compress(b"weights")), "gunzip"),
    "NumPy archive": Kind(lambda path, *_: np.savez(path, w=np.ones(2)), "NumPy", file="weights.npz"),
    "HDF5 (Keras)": Kind(keras, "HDF5", file="model.h5"),
    "pointer of Git LFS": Kind(
        lambda path, *_: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS",
        file="model.safetensors",
    ),
    "web page": Kind(lambda path, *_: path.write_text("<!doctype html><title>Sign in</title>"), "Download"),
    "folder": Kind(lambda path, *_: path.mkdir(), "folder"),
}


def table():
    """Return the table of a page: kinds of checkpoints and what comes of them."""
    packages = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", "safetensors", "numpy"))
    lines = [f"Tried with {packages}.\n", "| checkpoint | outcome |", "|:--|:--|"]
    for name, kind in KINDS.items():
        what = "read" if kind.outcome == "read" else f"refused: “{kind.outcome}”"
        lines.append(f"| {name} | {what}{f'; said: “{kind.said}”' if kind.said else ''} |")
    return "\n".join(lines) + "\n"


def update(page, first, last, content):
    """Replace what lies between two marks of a page; ValueError if it lacks one."""
    before, begun, rest = page.read_text().partition(first)
    _, ended, after = rest.partition(last)
    if not (begun and ended):
        raise ValueError(f"{page} lacks one of the marks {first.strip()} and {last.strip()}")
    page.write_text(f"{before}{first}\n{content}\n{last}{after}")


if __name__ == "__main__":
    update(pathlib.Path(sys.argv[1]), MARK, END, table())
