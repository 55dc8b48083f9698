"""Peak memory of whole stages: the memory per additional image, as a share of the bytes that it reads or writes.

A stage that holds everything has a slope of 1 between any two sizes. A buffer of fixed size that the smaller of two
files does not fill also gives a slope, up to 1, but none between two larger sizes. Averaged features are small, so the
stages that read them are measured at a third size.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure import Result
from featurepaths.data.splits import write_splits
from featurepaths.networks.checkpoint import save_checkpoint
from featurepaths.networks.resnet import ResNet
from featurepaths.store.hdf5 import create_hdf5, open_hdf5
from featurepaths.store.origin import Origin
from featurepaths.store.provenance import read_origin

COUNTS = 2_000, 8_000
THIRD = 4
"""The third size, for stages that read averaged features, is this many times the second."""
# The kernel's record of the process; getrusage would also count the parent's memory at the fork.
RUN_AND_REPORT = """
import atexit, pathlib, runpy, sys
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
SHARE = 0.05
MEAN_FEATURES = Path("features/mean/train.h5")


class Measured(NamedTuple):
    """A stage's peak memory in each repetition, in bytes, and the bytes of its files that one image takes."""

    peaks: list[int]
    size: int


def measure(folder: Path) -> list[Result]:
    """Return the slope of each stage's peak memory between `COUNTS` images, in bytes per byte read or written.

    Stages that read averaged features have a second row: the slope between the second and the third size.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        folders = {count: Path(temporary) / str(count) for count in (*COUNTS, THIRD * COUNTS[1])}
        *counts, third = folders
        measured = {count: _stages(folders[count], count) for count in counts}
        _repeat_rows(folders[counts[-1]] / MEAN_FEATURES, folders[third] / MEAN_FEATURES, THIRD)
        measured[third] = _readers(folders[third], "mean", measured[counts[-1]]["centroids, mean"].size)
    return slopes(measured)


def slopes(measured: Mapping[int, Mapping[str, Measured]]) -> list[Result]:
    """Return the slope of each stage's peak memory between adjacent numbers of images, from those of each number."""
    results = []
    for stage in next(iter(measured.values())):
        of_counts = {count: stages[stage] for count, stages in measured.items() if stage in stages}
        for number, (fewer, more) in enumerate(pairwise(of_counts)):
            few, many = of_counts[fewer].peaks, of_counts[more].peaks
            # the minimum of several: random overhead adds to the memory that a process needs
            growths = min(many) - min(few), min(many) - max(few), max(many) - min(few)
            ratios = (growth / (more - fewer) / of_counts[more].size for growth in growths)
            size = f" to {more:,} images" if number else ""
            results.append(Result(f"peak memory of {stage}, slope{size}", *ratios, SHARE, at_most=True))
    return results


def _stages(folder: Path, count: int) -> dict[str, Measured]:
    """Run every stage on `count` images."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    part = pixels, np.arange(count) % 10
    classes = [str(c) for c in range(10)]
    data = folder / "data.h5"
    write_splits(
        data,
        {"train": part, "test": (pixels[:10], part[1][:10])},
        classes,
        0,
        0,
        Origin("data", f"data {count}"),
        "noise",
    )
    common = ["--settings", json.dumps({"torch_threads": 1}), "--device", "cpu"]
    measured = {}
    checkpoints = {}
    for name, width in (("narrow", 4), ("middle", 16), ("wide", 64)):
        # the attack writes many bytes per image with any network, so a narrow one is enough
        checkpoints[name] = folder / name / "checkpoint.safetensors"
        network = ResNet("resnet18", 10, width)
        build = {"architecture": "resnet18", "classes": 10, "width": width, "mean": [0.0] * 3, "std": [1.0] * 3}
        save_checkpoint(
            checkpoints[name],
            network,
            build,
            network.layer_names,
            (3, 32, 32),
            Origin("checkpoint", name, {"data": f"data {count}"}),
        )
    rules = ["first-success", "last-success", "max-loss"]
    attack = {"attack": {"eps": "8/255", "iterations": 1, "stopping_rule": rules}, "seed": 0, "torch_threads": 1}
    adversarial = folder / "attacks/train.apgd.h5"
    peak = _peak("attack", "--settings", json.dumps(attack), "--device", "cpu", "--data", data,
                 "--checkpoint", checkpoints["narrow"], "--adversarial", adversarial)  # fmt: skip
    image = pixels[0].nbytes
    measured["attack"] = Measured(peak, image + adversarial.stat().st_size // count)
    streamed = [*common, "--checkpoint", checkpoints["middle"]]
    centres, paths, collapse = (
        folder / "streamed" / name for name in ("flatten.h5", "flatten/train.h5", "flatten.json")
    )
    for name, stage, *arguments in (
        ("classes", "streamed_classes", "--data", data, "--centroids", centres, "--collapse", collapse),
        ("similarities", "streamed_paths", "--images", data, "--centroids", centres, "--paths", paths),
    ):
        size = image + 2 * 15_360  # bytes of a dump of this network's flattened features
        measured[f"{name}, streamed"] = Measured(_peak(stage, *streamed, *arguments), size)
    for pooling in ("mean", "flatten"):
        dump = folder / "features" / pooling / "train.h5"
        peak = _peak("features", *common, "--checkpoint", checkpoints["wide"], "--images", data, "--features", dump,
                     repeats=3 if pooling == "mean" else 1)  # fmt: skip
        size = dump.stat().st_size // count
        measured[f"extraction, {pooling}"] = Measured(peak, image + size)
        measured |= _readers(folder, pooling, size)
    return measured


def _readers(folder: Path, pooling: str, size: int) -> dict[str, Measured]:
    """Run every stage that reads a dump in `folder`, in which an image takes `size` bytes."""
    # averaged features are small compared with the random overhead of a process
    repeats = 5 if pooling == "mean" else 1
    dump, centres = folder / f"features/{pooling}/train.h5", folder / f"centroids/{pooling}.h5"
    paths, collapse = folder / f"paths/{pooling}/train.h5", folder / f"{pooling}.json"
    return {
        f"{name}, {pooling}": Measured(_peak(stage, "--features", dump, *arguments, repeats=repeats), size)
        for name, stage, *arguments in (
            ("centroids", "centroids", "--centroids", centres),
            ("similarities", "paths", "--centroids", centres, "--paths", paths),
            ("collapse metrics", "collapse", "--collapse", collapse),
        )
    }


def _repeat_rows(dump: Path, longer: Path, times: int) -> None:
    """Write a dump that holds each image of another `times` times."""
    with open_hdf5(dump) as source, create_hdf5(longer, read_origin(dump)) as target:
        for name, rows in source.items():
            target[name] = np.concatenate([rows[:]] * times)


def _peak(stage: str, *arguments: object, repeats: int = 1) -> list[int]:
    """Run a stage as a separate process `repeats` times, and return its peak memory each time, in bytes."""
    command = [sys.executable, "-c", RUN_AND_REPORT, f"featurepaths.stages.{stage}", *map(str, arguments)]
    peaks = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"stage {stage} failed: {done.stderr}")
        peaks.append(1024 * int(done.stdout.rpartition("VmHWM:")[2].split()[0]))
    return peaks
