"""External networks: any module that a function of the user, or of a library, returns."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.resnet import Normalise
from featurepaths.runtime.entry_points import call_factory


class ExternalNetwork(nn.Module):
    """An external network over images in [0, 1], which are resized and normalised for it.

    Parameters
    ----------
    factory
        ``package.module:function``, which returns the network.
    arguments
        Keyword arguments of the function.
    mean, std
        Normalisation of the input, by channel.
    size
        Height and width that images are resized to, bilinearly; None leaves them as they are. Attacks change the images
        before they are resized.

    Raises
    ------
    FeaturePathsError
        If there is no such function, it fails, or it returns no module.
    """

    def __init__(
        self,
        factory: str,
        arguments: Mapping[str, Any],
        mean: Sequence[float],
        std: Sequence[float],
        size: int | None = None,
    ):
        super().__init__()
        self.size = size
        self.normalise = Normalise(mean, std)
        self.network = call_factory(factory, arguments)
        if not isinstance(self.network, nn.Module):
            raise FeaturePathsError(f"{factory} returns a {type(self.network).__name__}, not a torch.nn.Module.")

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [0, 1] to logits [N, classes]."""
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return self.network(self.normalise(images))
