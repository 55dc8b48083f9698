"""What networks show of images, as detectors see it, from dumps or by running: what the stages of detectors share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.stages.image_inputs import open_images
from featurepaths.store.hdf5 import layers_in, open_hdf5
from featurepaths.store.provenance import read_origin

CHUNK = 512
"""Images whose features are in memory at a time, where they come from a dump."""


class Scored(NamedTuple):
    """What detectors say of N images: float64 [N] by their names; and what there is to know of the images, each [N]."""

    scores: Mapping[str, np.ndarray]
    labels: np.ndarray
    index: np.ndarray
    network_predictions: np.ndarray


class FeatureSource:
    """What a network shows of some images, some at a time, in one pass over them each time that it is iterated over."""

    def __init__(self, labels, index, centroids):
        self.labels, self.index, self.centroids = labels, index, centroids

    def __iter__(self):
        """Yield what the network shows of some images, and their labels."""
        raise NotImplementedError

    def evidence(self, detectors):
        """Return what detectors, by name, take from all of the images: by name too."""
        import torch

        from featurepaths.detectors.base import DetectorInputs

        with torch.no_grad():
            parts = [[detector.inputs(seen) for detector in detectors.values()] for seen, _ in self]
        return {
            name: DetectorInputs(*map(torch.cat, zip(*of_one, strict=True)))
            for name, of_one in zip(detectors, zip(*parts, strict=True), strict=True)
        }

    def scored_by(self, detectors):
        """Return what calibrated detectors, by name, say of all of the images."""
        import torch

        scores = {name: [] for name in detectors}
        network_predictions = []
        with torch.no_grad():
            for seen, _ in self:
                network_predictions.append(seen.logits.cpu().numpy().argmax(axis=1))
                for name, detector in detectors.items():
                    scores[name].append(detector.score(seen).cpu().numpy())
        found = {name: np.concatenate(parts) for name, parts in scores.items()}
        return Scored(found, self.labels, self.index, np.concatenate(network_predictions))


class Dump(FeatureSource):
    """What a dump says that the network showed."""

    def __init__(self, file, centroids):
        super().__init__(file["labels"][:], file["index"][:], centroids)
        self.file = file

    def __iter__(self):
        """Read the dump."""
        import torch

        from featurepaths.paths.outputs import model_outputs

        for start in range(0, len(self.labels), CHUNK):
            rows = slice(start, start + CHUNK)
            features = [torch.from_numpy(self.file[name][rows]).float() for name in layers_in(self.file)]
            logits = torch.from_numpy(self.file["logits"][rows])
            yield model_outputs(logits, features, self.centroids), torch.from_numpy(self.labels[rows])


class Stream(FeatureSource):
    """What the network shows when it runs over the images."""

    def __init__(self, network, images, centroids):
        super().__init__(images.labels, images.index, centroids)
        self.network, self.pixels = network, images.pixels

    def __iter__(self):
        """Run the network, a block of 64 images at a time; the features of one are gone when the next one comes."""
        import torch

        from featurepaths.paths.features import POOLINGS, run_blocks
        from featurepaths.paths.outputs import model_outputs
        from featurepaths.runtime.blocks import blocks, retry_smaller_on_oom

        module, layers, pooling, device = self.network
        features = {}

        def keep(name, rows, output):
            features[name] = POOLINGS[pooling](output)[: rows.stop - rows.start].float()

        def run(chosen):
            return run_blocks(module, layers, self.pixels, keep, device, chosen)

        for rows, logits in retry_smaller_on_oom(run, blocks(len(self.pixels))):
            in_order = [features.pop(name) for name in layers]
            seen = model_outputs(torch.from_numpy(logits).to(device), in_order, self.centroids)
            yield seen, torch.from_numpy(self.labels[rows]).to(device)
            in_order.clear()  # the caller may still hold `seen`


class Network(NamedTuple):
    """A network that runs, the names of its layers, how their outputs are pooled, and where it runs."""

    module: object
    layers: list
    pooling: str
    device: object


def prepare(arguments, source, pooling):
    """Return the device to compute on, and the network that is to run there: None where `source` is a dump."""
    from featurepaths.networks.checkpoint import layer_names, load_checkpoint
    from featurepaths.runtime.devices import use_device

    threads = arguments.settings["torch_threads"]
    if is_dump(source):
        return use_device("cpu", threads), None
    if arguments.checkpoint is None:
        raise FeaturePathsError(f"--checkpoint is needed, because {source} is no feature dump: the network has to run.")
    device = use_device(arguments.device, threads)
    module, description = load_checkpoint(arguments.checkpoint, device)
    return device, Network(module, layer_names(description), pooling, device)


def is_dump(path):
    """Return whether an artefact is a feature dump."""
    return read_origin(path).name.startswith("features/")


@contextmanager
def open_feature_source(path, part, centroids, network) -> Iterator[FeatureSource]:
    """Open what a network shows of images: a dump, or a part of data.h5 or an attack that `network` runs over."""
    if network is None:
        with open_hdf5(path) as file:
            yield Dump(file, centroids)
    else:
        with open_images(path, part) as images:
            yield Stream(network, images, centroids)
