"""The path-density detector: a Gaussian of feature paths."""

import torch
from torch import Tensor
from torch.nn import functional as F

from featurepaths.detectors.base import DensityDetector, log_length
from featurepaths.paths.outputs import ModelOutputs


class PathDensity(DensityDetector):
    """The stronger reading of feature paths: the whole path at once, against those of clean images of the same class.

    For every layer the similarity to the centroid of the class that the network names, what it exceeds the best other
    class by, and the logarithm of the feature's length. Where S_max asks whether an image is near any class on average,
    this asks whether its path is one that images of this class take, too near counting as much as too far.
    """

    name = "path-density"

    def statistics(self, observed: ModelOutputs) -> Tensor:
        """Return own similarities, margins and logarithms of lengths: [N, 3 layers]."""
        chosen = observed.similarity[:, torch.tensor(self.layers) - 1]
        own_class = F.one_hot(observed.logits.argmax(dim=1), observed.logits.shape[1]).bool().unsqueeze(1)
        own = chosen.masked_fill(~own_class, -torch.inf).amax(dim=2)
        margin = own - chosen.masked_fill(own_class, -torch.inf).amax(dim=2)
        lengths = torch.stack([log_length(observed.features[layer - 1]) for layer in self.layers], dim=1)
        return torch.cat([own, margin, lengths], dim=1)
