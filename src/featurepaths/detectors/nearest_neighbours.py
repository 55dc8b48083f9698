"""The nearest-neighbours detector (Sun et al., 2022)."""

from torch import Tensor

from featurepaths.detectors.averaged import EvenlySpaced, TrainedDetector
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.equations import unit
from featurepaths.paths.outputs import ModelOutputs

NEIGHBOUR = 10
"""Rank of the nearest neighbour that counts."""


class UnitRows(EvenlySpaced):
    """Evenly spaced rows, scaled to length 1."""

    def add(self, values: Tensor, labels: Tensor, classes: int) -> None:
        """Add values [n, d]; labels are not used."""
        super().add(unit(values))


class NearestNeighbours(TrainedDetector):
    """The cosine similarity to the k-th nearest training image, per layer; k is `NEIGHBOUR`.

    Averages of each layer's channels are compared, with at most `featurepaths.detectors.averaged.REFERENCES` evenly
    spaced training images: every 2^j-th. Sources: Sun et al., ICML 2022, who take the last layer and the distance,
    which falls as the similarity rises; all layers as Papernot and McDaniel, 2018, who count the labels of the
    neighbours instead.
    """

    name = "nearest-neighbours"
    accumulator = UnitRows

    def parameters_of(self, accumulator: UnitRows) -> dict[str, Tensor]:
        """Return the training images of a layer among which neighbours are searched."""
        if accumulator.rows is None or len(accumulator.rows) < NEIGHBOUR:
            raise FeaturePathsError(
                f"{self.name}: there are fewer than {NEIGHBOUR} training images. Use more training images."
            )
        return {"references": accumulator.rows.clone()}

    def layer_score(self, outputs: ModelOutputs, layer: int) -> Tensor:
        """Return the similarity to the k-th nearest neighbour."""
        similarity = unit(self.channel_means(outputs, layer)) @ self.get_buffer(f"references_{layer}").T
        return similarity.topk(NEIGHBOUR, dim=1).values[:, -1]
