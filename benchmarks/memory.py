"""Peak memory of whole stages: the memory per additional image, as a share of the bytes that it reads or writes."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Result
from featurepaths.data.splits import write_splits
from featurepaths.networks.checkpoint import save_checkpoint
from featurepaths.networks.resnet import ResNet
from featurepaths.store.origin import Origin

COUNTS = 2_000, 8_000
# The kernel's record of the process; getrusage would also count the parent's memory at the fork.
RUN_AND_REPORT = """
import atexit, pathlib, runpy, sys
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
SHARE = 0.05


def measure(folder: Path) -> list[Result]:
    """Return the slope of each stage's peak memory between `COUNTS` images, in bytes per byte read or written."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        peaks: dict[str, list[list[int]]] = {}
        sizes: dict[str, int] = {}
        for count in COUNTS:
            for stage, (measured, size) in _stages(Path(temporary) / str(count), count).items():
                peaks.setdefault(stage, []).append(measured)
                sizes[stage] = size
    results = []
    for stage, (few, many) in peaks.items():
        # the minimum of several: random overhead adds to the memory that a process needs
        growths = min(many) - min(few), min(many) - max(few), max(many) - min(few)
        ratios = (growth / (COUNTS[1] - COUNTS[0]) / sizes[stage] for growth in growths)
        results.append(Result(f"peak memory of {stage}, slope", *ratios, SHARE, at_most=True))
    return results


def _stages(folder: Path, count: int) -> dict[str, tuple[list[int], int]]:
    """Run every stage on `count` images; return its peak memory in each repetition, and the bytes per image."""
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
    peaks = {}
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
    peaks["attack"] = peak, image + adversarial.stat().st_size // count
    streamed = [*common, "--checkpoint", checkpoints["middle"]]
    centres, paths, collapse = (
        folder / "streamed" / name for name in ("flatten.h5", "flatten/train.h5", "flatten.json")
    )
    for name, stage, *arguments in (
        ("classes", "streamed_classes", "--data", data, "--centroids", centres, "--collapse", collapse),
        ("similarities", "streamed_paths", "--images", data, "--centroids", centres, "--paths", paths),
    ):
        size = image + 2 * 15_360  # bytes of a dump of this network's flattened features
        peaks[f"{name}, streamed"] = _peak(stage, *streamed, *arguments), size
    for pooling in ("mean", "flatten"):
        dump = folder / "features" / pooling / "train.h5"
        peak = _peak("features", *common, "--checkpoint", checkpoints["wide"], "--images", data, "--features", dump,
                     repeats=3 if pooling == "mean" else 1)  # fmt: skip
        size = dump.stat().st_size // count
        peaks[f"extraction, {pooling}"] = peak, image + size
        # averaged features are small compared with the random overhead of a process
        repeats = 5 if pooling == "mean" else 1
        centres, paths = folder / f"centroids/{pooling}.h5", folder / f"paths/{pooling}/train.h5"
        collapse = folder / f"{pooling}.json"
        for name, stage, *arguments in (
            ("centroids", "centroids", "--features", dump, "--centroids", centres),
            ("similarities", "paths", "--features", dump, "--centroids", centres, "--paths", paths),
            ("collapse metrics", "collapse", "--features", dump, "--collapse", collapse),
        ):
            peaks[f"{name}, {pooling}"] = _peak(stage, *arguments, repeats=repeats), size
    return peaks


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
