"""The path-density detector: a Gaussian of feature paths."""

import torch
from torch import Tensor
from torch.nn import functional as F

from featurepaths.detectors.density import DensityDetector, log_length
from featurepaths.paths.outputs import ModelOutputs


class PathDensity(DensityDetector):
    """The whole feature path at once, compared with those of clean images of the predicted class.

    For every layer: the similarity to the centroid of the predicted class, its margin over the best other class, and
    the logarithm of the feature's length. S_max measures whether an image is near any class on average; this measures
    whether its path is usual for images of this class, where too near is as unusual as too far.
    """

    name = "path-density"

    def statistics(self, outputs: ModelOutputs) -> Tensor:
        """Return own similarities, margins and logarithms of lengths: [N, 3 layers]."""
        similarity = outputs.similarity[:, torch.tensor(self.layers) - 1]
        own_class = F.one_hot(outputs.logits.argmax(dim=1), outputs.logits.shape[1]).bool().unsqueeze(1)
        own = similarity.masked_fill(~own_class, -torch.inf).amax(dim=2)
        margin = own - similarity.masked_fill(own_class, -torch.inf).amax(dim=2)
        lengths = torch.stack([log_length(outputs.features[layer - 1]) for layer in self.layers], dim=1)
        return torch.cat([own, margin, lengths], dim=1)
