"""A network's outputs for images, as detectors read them, from dumps or by running it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.stages.network_inputs import load_network, open_images
from featurepaths.store.hdf5 import layers_in, open_hdf5
from featurepaths.store.provenance import read_origin

CHUNK = 512
"""Images whose features are in memory at a time, where they come from a dump."""


class Scored(NamedTuple):
    """Detectors' scores of N images, float64 [N] by name; their labels, indices and network predictions, each [N]."""

    scores: Mapping[str, np.ndarray]
    labels: np.ndarray
    index: np.ndarray
    network_predictions: np.ndarray


@dataclass
class FeatureSource:
    """The model outputs for N images, chunk by chunk and with their labels; each iteration starts from the first chunk.

    `labels` and `index` are [N].
    """

    labels: np.ndarray
    index: np.ndarray
    chunks: Callable[[], Iterator]

    def __iter__(self):
        """Yield the model outputs for some images, and their labels."""
        return self.chunks()

    def inputs(self, detectors):
        """Return what detectors, by name, read of all of the images: by name too."""
        import torch

        from featurepaths.detectors.base import DetectorInputs

        with torch.no_grad():
            parts = [[detector.inputs(outputs) for detector in detectors.values()] for outputs, _ in self]
        return {
            name: DetectorInputs(*map(torch.cat, zip(*of_detector, strict=True)))
            for name, of_detector in zip(detectors, zip(*parts, strict=True), strict=True)
        }

    def scored_by(self, detectors):
        """Return the scores that calibrated detectors, by name, give all of the images."""
        import torch

        scores = {name: [] for name in detectors}
        predictions = []
        with torch.no_grad():
            for outputs, _ in self:
                predictions.append(outputs.logits.cpu().numpy().argmax(axis=1))
                for name, detector in detectors.items():
                    scores[name].append(detector.score(outputs).cpu().numpy())
        all_scores = {name: np.concatenate(parts) for name, parts in scores.items()}
        return Scored(all_scores, self.labels, self.index, np.concatenate(predictions))


class Network(NamedTuple):
    """A network that runs, the names of its layers, where it runs, and how their outputs are pooled."""

    module: object
    layers: list
    device: object
    pooling: str


def prepare(arguments, source, pooling):
    """Return the device to compute on, and the network that is to run there: None where `source` is a dump."""
    from featurepaths.runtime.devices import use_device

    if is_dump(source):
        return use_device("cpu", arguments.settings.torch_threads), None
    if arguments.checkpoint is None:
        raise FeaturePathsError(f"--checkpoint is needed, because {source} is no feature dump: the network has to run.")
    network = Network(*load_network(arguments), pooling)
    return network.device, network


def is_dump(path):
    """Return whether an artefact is a feature dump."""
    return read_origin(path).name.startswith("features/")


@contextmanager
def open_feature_source(path, part, centroids, network) -> Iterator[FeatureSource]:
    """Open the model outputs for images: a dump, or a part of data.h5 or an attack that `network` runs over."""
    if network is None:
        with open_hdf5(path) as file:
            labels = file["labels"][:]
            yield FeatureSource(labels, file["index"][:], partial(dumped, file, labels, centroids))
    else:
        with open_images(path, part) as images:
            yield FeatureSource(images.labels, images.indices, partial(streamed, network, images, centroids))


def dumped(file, labels, centroids):
    """Yield the model outputs and the labels of some images at a time from a dump."""
    import torch

    from featurepaths.paths.outputs import model_outputs

    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        features = [torch.from_numpy(file[name][rows]).float() for name in layers_in(file)]
        logits = torch.from_numpy(file["logits"][rows])
        yield model_outputs(logits, features, centroids), torch.from_numpy(labels[rows])


def streamed(network, images, centroids):
    """Yield the same while the network runs; the features of a block of 64 images are gone when the next one comes."""
    import torch

    from featurepaths.networks.forward import POOLINGS
    from featurepaths.paths.features import run_blocks
    from featurepaths.paths.outputs import model_outputs
    from featurepaths.runtime.blocks import blocks, retry_smaller_on_oom

    module, layers, device, pooling = network
    features = {}

    def keep(name, rows, output):
        features[name] = POOLINGS[pooling](output)[: rows.stop - rows.start].float()

    def run(rows_of_blocks):
        return run_blocks(module, layers, images.pixels, keep, device, rows_of_blocks)

    for rows, logits in retry_smaller_on_oom(run, blocks(len(images.pixels))):
        in_order = [features.pop(name) for name in layers]
        outputs = model_outputs(torch.from_numpy(logits).to(device), in_order, centroids)
        yield outputs, torch.from_numpy(images.labels[rows]).to(device)
        in_order.clear()  # the caller may still hold the outputs
