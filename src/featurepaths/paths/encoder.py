"""A network together with the layers that are read: from images to features in one differentiable pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.fingerprint import Fingerprint
from featurepaths.networks.hooks import forward_intermediates
from featurepaths.networks.precision import InPrecision
from featurepaths.paths.features import POOLINGS


class Encoder(nn.Module):
    """Maps images [N, C, H, W] in [0, 1] to the pooled features of a network's layers.

    Every pass is one in evaluation mode, into which all modules are put where one is not: attack libraries, above all,
    leave networks in the other.

    Parameters
    ----------
    network
        The classifier: logits [N, classes]. Where `precision` is not ``float32`` it is laid out anew: give a copy.
    layers
        Names of the modules whose outputs are the layers, in order.
    pooling
        A name of `featurepaths.paths.features.POOLINGS`.
    precision
        ``float32`` or ``bfloat16``: how the network's pass is computed. Features are always float32.

    Raises
    ------
    FeaturePathsError
        If there is no layer, or no module, of such a name, one is named twice, there is no such pooling, or the network
        has no parameters.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], pooling: str, precision: str = "float32"):
        super().__init__()
        known = dict(network.named_modules())
        if isinstance(layers, str) or not layers or len(set(layers)) < len(layers):
            raise FeaturePathsError(f"layers is a list of the names of one or more different modules, not {layers!r}.")
        if missing := [name for name in layers if not name or name not in known]:
            raise FeaturePathsError(
                f"The network has no module {missing[0]!r}. Its named_modules() are: {', '.join(filter(None, known))}."
            )
        if pooling not in POOLINGS:
            raise FeaturePathsError(f"There is no pooling {pooling!r}; there are {', '.join(POOLINGS)}.")
        if next(network.parameters(), None) is None:
            raise FeaturePathsError("The network has no parameters, which would tell the device that it is on.")
        self.network = InPrecision(network, precision)
        self.layers = list(layers)
        self.pooling = pooling
        self.widths: list[int] | None = None
        """How many values the feature of each layer has; known after the first images."""
        self.fingerprint: Fingerprint | None = None
        """The weights and statistics that passes are refused without, if any: see `remember`."""

    def remember(self) -> None:
        """From now on refuse passes of a network whose weights or statistics are not today's."""
        self.fingerprint = Fingerprint(self.network.network)

    def check(self) -> None:
        """Compare every weight and statistic with those of `remember`; a changed network is refused."""
        if self.fingerprint is not None:
            self.fingerprint.check_all(self.network.network)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of all layers side by side, [N, D]: the one tensor that pytorch-ood's detectors take."""
        return torch.cat(self.features(images)[1], dim=1)

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run the network once and return its logits [N, classes] and each layer's pooled feature [N, d], in float32.

        Raises
        ------
        FeaturePathsError
            If a layer does not run, or does not give a tensor with a feature for each image, or if the network was
            changed since `remember`.
        """
        with self._in_evaluation_mode():
            logits, outputs = forward_intermediates(self.network, images, [f"network.{name}" for name in self.layers])
        found = [POOLINGS[self.pooling](output.float()) for output in outputs]
        self.widths = [feature.shape[1] for feature in found]
        return logits, found

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits [N, classes] alone; errors are those of `features`."""
        with self._in_evaluation_mode():
            return self.network(images)

    @contextmanager
    def _in_evaluation_mode(self) -> Iterator[None]:
        """Put every module into evaluation mode for a pass, and refuse a network that was changed."""
        if self.fingerprint is not None:
            self.fingerprint.check(self.network.network)
        if any(module.training for module in self.modules()):
            self.eval()
        yield
        if self.fingerprint is not None:
            self.fingerprint.check_values()  # after the pass, where a GPU is waited for in any case

    def split(self, features: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """Return features by layer, [N, d] each, from what `forward` or `features` gives.

        Raises
        ------
        FeaturePathsError
            If they are not of as many layers or values.
        """
        if not isinstance(features, Tensor):
            parts = list(features)
        elif len(self.layers) == 1:
            parts = [features]
        elif self.widths is None:
            raise FeaturePathsError("How wide each layer is is not known yet: give features as a list, one a layer.")
        else:
            parts = list(features.split(self.widths, dim=1)) if features.shape[1] == sum(self.widths) else []
        widths = [part.shape[1] for part in parts]
        if len(parts) != len(self.layers) or self.widths not in (None, widths):
            raise FeaturePathsError(
                f"These features are not those of the {len(self.layers)} layers {', '.join(self.layers)} with pooling "
                f"{self.pooling}" + (f", of {self.widths} values." if self.widths else ".")
            )
        return parts
