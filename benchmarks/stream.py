"""Memory, time and disk space of streaming the flattened features of a ResNet-50 at 224x224 pixels.

python -m benchmarks.stream [images]    random weights and random images, 10 classes; prints a table
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torchvision.models import resnet50

from featurepaths.detectors.base import fit_detectors
from featurepaths.detectors.mahalanobis import Mahalanobis
from featurepaths.detectors.nearest_neighbours import NearestNeighbours
from featurepaths.paths.chunks import ClassSums
from featurepaths.paths.collapse import CollapseMeter
from featurepaths.paths.equations import centroids_of, cosine_similarity
from featurepaths.paths.stream import FeatureStream
from featurepaths.runtime.blocks import blocks, pad_block, to_tensor
from featurepaths.stages.feature_sources import FeatureSource, Network, streamed
from featurepaths.stages.network_inputs import Images

CLASSES = 10
PIXELS = 224


def main() -> None:
    """Measure every pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="where to put the images and the centroids")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, threadpool_limits(1, user_api="blas"):
        rows = measure(arguments.images, Path(folder))
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))


def measure(count: int, folder: Path) -> list[dict[str, object]]:
    """Return a row for each pass over `count` images."""
    torch.manual_seed(0)
    network = resnet50(weights=None, num_classes=CLASSES).eval().requires_grad_(False)
    layers = [f"layer{stage}.{block}" for stage, number in enumerate((3, 4, 6, 3), 1) for block in range(number)]
    labels = np.arange(count) % CLASSES
    generator = np.random.default_rng(0)
    with h5py.File(folder / "images.h5", "w") as file:
        pixels = file.create_dataset("images", (count, PIXELS, PIXELS, 3), np.uint8)
        for rows in blocks(count):
            pixels[rows] = generator.integers(0, 256, (rows.stop - rows.start, PIXELS, PIXELS, 3), np.uint8)
        del rows
        stream = FeatureStream(network, layers, pixels, ["flatten"])
        values = sum(stream.widths.values())
        table = [_measured("bare passes", count, lambda: _bare(network, pixels))]
        centroids = h5py.File(folder / "centroids.h5", "w")
        for keys in stream.passes():
            sums = {key: ClassSums(CLASSES, stream.widths[key]) for key in keys}
            table.append(_measured("class sums", count, lambda: _read(stream, sums, labels)))  # noqa: B023
            means = {key: sums.pop(key).means() for key in keys}
            for key in keys:
                centroids[key.name] = centroids_of(means[key])
            counts = np.bincount(labels)
            meters: dict = {}
            table.append(
                _measured("", 0, lambda: meters.update({key: CollapseMeter(means.pop(key), counts) for key in keys}))  # noqa: B023
            )
            table[-1]["what"] = "directions of the class means"
            table.append(_measured("collapse metrics", count, lambda: _read(stream, meters, labels)))  # noqa: B023
            meters.clear()
            compared = {key: _Similarity(centroids[key.name][:]) for key in keys}
            table.append(_measured("similarities", count, lambda: _read(stream, compared, labels)))  # noqa: B023
        images = Images(pixels, labels, np.arange(count))
        of_layers = [torch.from_numpy(centroids[f"layer{number}"][:]) for number in range(1, len(layers) + 1)]
        running = Network(module=network, layers=layers, device="cpu", pooling="flatten")
        source = FeatureSource(labels, images.indices, partial(streamed, running, images, of_layers))
        table.append(_measured("detectors fitted to training images", count, lambda: _fit_detectors(source)))
        centroids.close()
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    print(f"{len(layers)} layers, {values} values an image: {2 * values / 1e6:.1f} MB in float16; {count} images")
    print(f"one pass for all layers: {len(stream.passes()) == 1}; centroids {4 * CLASSES * values / 1e6:.0f} MB")
    print("on the disk: " + ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))
    return table


class _Similarity:
    def __init__(self, centroids: np.ndarray):
        self.centroids = centroids

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        cosine_similarity(features, self.centroids)


def _bare(network: nn.Module, pixels: h5py.Dataset) -> None:
    with torch.inference_mode():
        for rows in blocks(len(pixels)):
            network(to_tensor(pad_block(pixels[rows])))


def _read(stream: FeatureStream, gatherers: dict, labels: np.ndarray) -> None:
    for _ in stream.read(gatherers, lambda key, rows, features: gatherers[key].add(features, labels[rows])):
        pass


def _fit_detectors(source: FeatureSource) -> None:
    detectors = [Mahalanobis(), NearestNeighbours()]
    channels = [width for width, number in ((256, 3), (512, 4), (1024, 6), (2048, 3)) for _ in range(number)]
    fit_detectors(detectors, source, channels)


def _measured(what: str, count: int, call: Callable[[], object]) -> dict[str, object]:
    """Return seconds of the processor, those of an image, and the most memory that the process held meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far
    start = time.process_time()
    call()
    took = time.process_time() - start
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1e3
    return {"what": what, "CPU s": took, "CPU s of an image": took / count if count else None, "peak MB": peak}


if __name__ == "__main__":
    main()
