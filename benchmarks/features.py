"""Feature dumps, centroids and similarities: against the network, the disk, and one matrix product."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.measure import Result, speed_ratio
from featurepaths.networks.resnet import ResNet
from featurepaths.paths.chunks import CHUNK_ROWS
from featurepaths.paths.equations import centroids, similarities
from featurepaths.paths.features import extract_blocks
from featurepaths.runtime.blocks import blocks, to_tensor
from featurepaths.stages.features import write
from featurepaths.store.hdf5 import RowWriter

CLASSES = 10
WIDTH = 16_384  # values in a flattened layer of the first stage


def measure(device: torch.device, folder: Path) -> list[Result]:
    """Return the ratios of images a second; `folder` is on the disk that artefacts are written to."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        return _extraction(device, Path(temporary)) + _similarities(Path(temporary))


def _extraction(device: torch.device, folder: Path) -> list[Result]:
    network = ResNet("resnet18", CLASSES).to(device).eval().requires_grad_(False)
    count = 512 if device.type == "cpu" else 16_384
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)

    def bare() -> None:
        with torch.inference_mode():
            for rows in blocks(count):
                network(to_tensor(pixels[rows], device)).cpu()

    results = []
    for pooling, target in (("mean", 0.85), ("flatten", 0.6)):
        path = folder / f"{pooling}.h5"

        def ours(pooling=pooling, path=path) -> None:
            with h5py.File(path, "w") as file:
                extracted = extract_blocks(network, network.layer_names, pixels, [pooling], device, blocks(count))
                write({pooling: RowWriter(file, slice(0, count), {})}, extracted)

        if device.type == "cpu":
            results.append(speed_ratio(f"extraction to disk, {pooling} / bare forward pass", ours, bare, target))
            continue
        ours()
        with h5py.File(path) as file:
            written = {name: file[name][:] for name in file}

        def plain(written=written) -> None:
            with h5py.File(folder / "plain.h5", "w") as file:
                for name, values in written.items():
                    file[name] = values

        results.append(speed_ratio(f"extraction to disk, {pooling} / writing the same bytes", ours, plain, 0.7))
    return results


def _similarities(folder: Path) -> list[Result]:
    count = 4096
    generator = np.random.default_rng(0)
    labels = np.arange(count) % CLASSES
    centres = generator.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    with h5py.File(folder / "dump.h5", "w") as file:
        file["layer1"] = generator.normal(size=(count, WIDTH)).astype(np.float16)
    with h5py.File(folder / "dump.h5") as file, threadpool_limits(1, user_api="blas"):  # as the stages compute
        features = file["layer1"]

        def plain() -> None:
            for start in range(0, count, CHUNK_ROWS[1]):
                features[start : start + CHUNK_ROWS[1]].astype(np.float32) @ centres.T

        name = "from a dump / reading it, float32, one matrix product"
        return [
            speed_ratio(f"centroids {name}", lambda: centroids(features, labels, CLASSES), plain, 0.8),
            speed_ratio(f"similarities {name}", lambda: list(similarities(features, centres)), plain, 0.8),
        ]
