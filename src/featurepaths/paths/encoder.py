"""Encoders: from images to the pooled features of a network's layers in one differentiable pass."""

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

    Every pass is in evaluation mode; modules in training mode, in which attack libraries leave networks, are switched.

    Parameters
    ----------
    network
        The classifier: logits [N, classes]. Pass a copy if `precision` is not ``float32``, which changes its layout in
        memory.
    layers
        Names of the modules whose outputs are the layers, in order.
    pooling
        A name of `featurepaths.paths.features.POOLINGS`.
    precision
        ``float32`` or ``bfloat16``, of the network's pass. Features are always float32.

    Raises
    ------
    FeaturePathsError
        If `layers` is empty, or names a missing module or one module twice, there is no such pooling, or the network
        has no parameters.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], pooling: str, precision: str = "float32"):
        super().__init__()
        modules = dict(network.named_modules())
        if isinstance(layers, str) or not layers or len(set(layers)) < len(layers):
            raise FeaturePathsError(f"layers must be a list of one or more different module names, not {layers!r}.")
        if missing := [name for name in layers if not name or name not in modules]:
            raise FeaturePathsError(
                f"The network has no module {missing[0]!r}. Its modules are: {', '.join(filter(None, modules))}."
            )
        if pooling not in POOLINGS:
            raise FeaturePathsError(f"There is no pooling {pooling!r}. Available: {', '.join(POOLINGS)}.")
        if next(network.parameters(), None) is None:
            raise FeaturePathsError("The network has no parameters, from which its device would be read. Add one.")
        self.network = InPrecision(network, precision)
        self.layers = list(layers)
        self.pooling = pooling
        self.widths: list[int] | None = None
        """Number of values of each layer's feature; set by the first images."""
        self.fingerprint: Fingerprint | None = None
        """The weights and statistics that passes require, if any: see `remember`."""

    def remember(self) -> None:
        """Refuse later passes if the network's weights or statistics have changed from now on."""
        self.fingerprint = Fingerprint(self.network.network)

    def check(self) -> None:
        """Compare every weight and statistic with those of `remember`; a changed network is refused."""
        if self.fingerprint is not None:
            self.fingerprint.check_all(self.network.network)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of all layers side by side, [N, D], in one tensor as pytorch-ood's detectors need."""
        return torch.cat(self.features(images)[1], dim=1)

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run the network once and return its logits [N, classes] and each layer's pooled feature [N, d], in float32.

        Raises
        ------
        FeaturePathsError
            If a layer does not run, or does not return a tensor with a feature for each image, or if the network has
            changed since `remember`.
        """
        with self._in_evaluation_mode():
            logits, outputs = forward_intermediates(self.network, images, [f"network.{name}" for name in self.layers])
        features = [POOLINGS[self.pooling](output.float()) for output in outputs]
        self.widths = [feature.shape[1] for feature in features]
        return logits, features

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits [N, classes] alone; errors are those of `features`."""
        with self._in_evaluation_mode():
            return self.network(images)

    @contextmanager
    def _in_evaluation_mode(self) -> Iterator[None]:
        """Put every module into evaluation mode for a pass, and refuse a network that has changed."""
        if self.fingerprint is not None:
            self.fingerprint.check(self.network.network)
        if any(module.training for module in self.modules()):
            self.eval()
        yield
        if self.fingerprint is not None:
            self.fingerprint.check_values()  # after the pass, where a GPU is waited for in any case

    def split(self, features: Tensor | Sequence[Tensor]) -> list[Tensor]:
        """Return features by layer, [N, d] each, from those of `forward` or `features`.

        Raises
        ------
        FeaturePathsError
            If the number of layers or values differs.
        """
        if not isinstance(features, Tensor):
            parts = list(features)
        elif len(self.layers) == 1:
            parts = [features]
        elif self.widths is None:
            raise FeaturePathsError(
                "Layer widths are not known yet: pass features as a list with one tensor per layer."
            )
        else:
            parts = list(features.split(self.widths, dim=1)) if features.shape[1] == sum(self.widths) else []
        widths = [part.shape[1] for part in parts]
        if len(parts) != len(self.layers) or self.widths not in (None, widths):
            raise FeaturePathsError(
                f"These features are not those of the {len(self.layers)} layers {', '.join(self.layers)} with pooling "
                f"{self.pooling}" + (f", of {self.widths} values." if self.widths else ".")
            )
        return parts
