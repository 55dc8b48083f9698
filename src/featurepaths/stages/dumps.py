"""Feature dumps as detectors see them: what the stages of detectors share."""

import numpy as np

from featurepaths.storage import layers_in, open_hdf5

CHUNK = 512
"""Images whose features are in memory at a time, but for the clean calibration images: they are there together."""


class Dump:
    """Features of some images, as detectors see them."""

    def __init__(self, file, centroids):
        self.file, self.centroids = file, centroids
        self.labels, self.index = file["labels"][:], file["index"][:]
        self.network_labels = np.concatenate([part.argmax(axis=1) for part in self._pieces("logits")])

    def __iter__(self):
        """Yield what the network shows of some images, and their labels."""
        import torch

        for start in range(0, len(self.labels), CHUNK):
            yield self.observed(slice(start, start + CHUNK)), torch.from_numpy(self.labels[start : start + CHUNK])

    def observed(self, rows):
        """Return what the network shows of a slice of the images."""
        import torch

        from featurepaths.paths.observed import observe

        features = [torch.from_numpy(self.file[name][rows]).float() for name in layers_in(self.file)]
        return observe(torch.from_numpy(self.file["logits"][rows]), features, self.centroids)

    def scores(self, detector):
        """Return a detector's score of every image, float64 [N]."""
        import torch

        with torch.no_grad():
            return np.concatenate([detector.score(seen).double().numpy() for seen, _ in self])

    def _pieces(self, name):
        for start in range(0, len(self.labels), CHUNK):
            yield self.file[name][start : start + CHUNK]


def read_centroids(path):
    """Return the centroids [classes, d] of every layer."""
    import torch

    with open_hdf5(path) as file:
        return [torch.from_numpy(file[name][:]) for name in layers_in(file)]
