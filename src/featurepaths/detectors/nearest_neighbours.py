"""The nearest-neighbours detector (Sun et al., 2022)."""

from collections.abc import Sequence

from torch import Tensor

from featurepaths.detectors.base import NEIGHBOUR, AveragedDetector, EvenlySpaced, finite
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.outputs import ModelOutputs, unit


class NearestNeighbours(AveragedDetector):
    """The cosine similarity to the k-th nearest training image, by layer; k is `NEIGHBOUR`.

    Of the averages of each layer's channels, among at most `REFERENCES` evenly spaced training images: every 2^j-th.
    Sources: Sun et al., ICML 2022, who take the last layer and the distance, which falls as the similarity rises; all
    layers as Papernot and McDaniel, 2018, who count the labels of the neighbours instead.
    """

    name = "nearest-neighbours"
    learns = True

    def start(self, channels: Sequence[int]) -> None:
        """Start with no image."""
        super().start(channels)
        self.kept = {layer: EvenlySpaced() for layer in self.layers}

    def add(self, observed: ModelOutputs, labels: Tensor) -> None:
        """Keep some of the images, and fewer of all where they have become too many."""
        for layer, kept in self.kept.items():
            values = self.channel_means(observed, layer).detach()
            kept.add(unit(finite(values, f"training image in layer {layer}", self.name)))

    def finish(self) -> None:
        """Settle the training images that neighbours are sought among."""
        for layer, kept in self.kept.items():
            if kept.rows is None or len(kept.rows) < NEIGHBOUR:
                raise FeaturePathsError(f"{self.name}: there are fewer than {NEIGHBOUR} training images.")
            self.register_buffer(f"references_{layer}", kept.rows.clone())
        del self.kept

    def layer_score(self, observed: ModelOutputs, layer: int) -> Tensor:
        """Return the similarity to the k-th nearest neighbour."""
        similarity = unit(self.channel_means(observed, layer)) @ self.get_buffer(f"references_{layer}").T
        return similarity.topk(NEIGHBOUR, dim=1).values[:, -1]
