"""A network together with its class centroids: from images to feature paths in one differentiable pass."""

from collections.abc import Sequence

from torch import Tensor, nn

from featurepaths.networks.precision import InPrecision
from featurepaths.networks.tap import forward_intermediates
from featurepaths.paths.features import POOLINGS
from featurepaths.paths.observed import Observed, observe


class PathNetwork(nn.Module):
    """Maps images [N, C, H, W] in [0, 1] to what the network shows of them.

    Parameters
    ----------
    network
        The classifier. Where `precision` is not ``float32`` it is laid out anew: give a copy.
    layers
        Names of the modules whose outputs are the layers, in order.
    centroids
        Of each layer the class centroids [classes, d], unit vectors: the paper's eq. (1).
    pooling
        A name of `featurepaths.paths.features.POOLINGS`: how the centroids' features were pooled.
    precision
        ``float32`` or ``bfloat16``: how the network's pass is computed. Similarities are always in float32.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        centroids: Sequence[Tensor],
        pooling: str,
        precision: str = "float32",
    ):
        super().__init__()
        self.network = InPrecision(network, precision)
        self.layers = [f"network.{name}" for name in layers]
        self.pool = POOLINGS[pooling]
        self.centroids = nn.ParameterList([nn.Parameter(each, requires_grad=False) for each in centroids])

    def forward(self, images: Tensor) -> Observed:
        """Run the network once and return its logits, its pooled features and their similarities, all in float32."""
        logits, outputs = forward_intermediates(self.network, images, self.layers)
        return observe(logits, [self.pool(output.float()) for output in outputs], list(self.centroids))

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits [N, classes] alone."""
        return self.network(images)
