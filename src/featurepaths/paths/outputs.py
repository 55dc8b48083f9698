"""A model's outputs for images as tensors: logits, pooled features and feature paths (eq. 2), differentiable."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from featurepaths.errors import FeaturePathsError
from featurepaths.networks.fingerprint import Fingerprint
from featurepaths.networks.forward import POOLINGS, InPrecision, forward_intermediates, user_name
from featurepaths.paths.equations import cosine_similarity_tensor, s_max_tensor
from featurepaths.store.hdf5 import layers_in, open_hdf5


class ModelOutputs(NamedTuple):
    """A model's outputs for N images, in float32; differentiable if they come from a forward pass.

    `logits` [N, C]; `features`, by layer [N, d_l], pooled as the paths are; `similarity` [N, L, C] to the centroids.
    """

    logits: Tensor
    features: list[Tensor]
    similarity: Tensor

    def take(self, rows: slice | Tensor) -> "ModelOutputs":
        """Return the outputs for some images, selected by a slice, positions or a mask."""
        return ModelOutputs(self.logits[rows], [feature[rows] for feature in self.features], self.similarity[rows])

    def blanked(self, rows: Tensor) -> "ModelOutputs":
        """Return the outputs with zeros as the logits and similarities of some images, bool [N]; features stay."""
        logits = self.logits.masked_fill(rows.view(-1, 1), 0)
        return ModelOutputs(logits, self.features, self.similarity.masked_fill(rows.view(-1, 1, 1), 0))

    def s_max(self, layers: Sequence[int], weights: np.ndarray | Tensor) -> Tensor:
        """Return S_max, eq. (5), over `layers` (from 1) with float64 weights [L]: float64 [N], differentiable."""
        return s_max_tensor(self.similarity, layers, torch.as_tensor(weights, device=self.similarity.device))


def model_outputs(logits: Tensor, features: list[Tensor], centroids: Sequence[Tensor]) -> ModelOutputs:
    """Return outputs with the feature paths, eq. (2), of features, by layer [N, d_l], to centroids [C, d_l]."""
    paths = [cosine_similarity_tensor(*layer) for layer in zip(features, centroids, strict=True)]
    return ModelOutputs(logits, features, torch.stack(paths, dim=1))


def read_centroids(path: Path, device: torch.device | str) -> list[Tensor]:
    """Return the centroids [C, d_l] of every layer, from their artefact, on `device`."""
    with open_hdf5(path) as file:
        return [torch.from_numpy(file[name][:]).to(device) for name in layers_in(file)]


class Encoder(nn.Module):
    """Maps images [N, C, H, W] in [0, 1] to the pooled features of a network's layers, in one differentiable pass.

    Every pass is in evaluation mode; modules in training mode, in which attack libraries leave networks, are switched.

    Parameters
    ----------
    network
        The classifier: logits [N, classes]. Pass a copy if `precision` is not ``float32``, which changes its layout in
        memory.
    layers
        Names of the modules whose outputs are the layers, in order.
    pooling
        A name of `featurepaths.networks.forward.POOLINGS`.
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
        if any(map(is_lazy, network.parameters())):
            raise FeaturePathsError("The network's lazy modules have no shapes yet. Run it on a batch of images first.")
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

    def digest(self) -> str:
        """Return a digest of the network's weights and statistics."""
        digest = hashlib.sha256()
        for values in (values for values in self.state_dict().values() if isinstance(values, Tensor)):
            digest.update(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

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
        with self._unchanged_in_evaluation_mode():
            logits, outputs = forward_intermediates(self.network, images, [f"network.{name}" for name in self.layers])
        features = [POOLINGS[self.pooling](output.float()) for output in outputs]
        self.widths = [feature.shape[1] for feature in features]
        return logits, features

    def logits(self, images: Tensor) -> Tensor:
        """Return the network's logits [N, classes] alone; errors are those of `features`."""
        with self._unchanged_in_evaluation_mode():
            return self.network(images)

    @contextmanager
    def _unchanged_in_evaluation_mode(self) -> Iterator[None]:
        """Put every module into evaluation mode for a pass, and refuse a network that has changed."""
        if self.fingerprint is not None:
            self.fingerprint.check(self.network.network)
        if any(module.training for module in self.modules()):
            self.eval()
            if training := [user_name(name) for name, module in self.named_modules() if module.training]:
                raise FeaturePathsError(
                    f"eval() leaves {training[0]} in training mode, in which results depend on the batch. Its class "
                    "overrides train() or eval()."
                )
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
        if isinstance(features, Tensor):
            if self.widths is None and len(self.layers) > 1:
                raise FeaturePathsError(
                    "Layer widths are not known yet: pass features as a list with one tensor per layer."
                )
            widths = self.widths or [features.shape[1]]
            features = features.split(widths, dim=1) if features.shape[1] == sum(widths) else []
        widths = [part.shape[1] for part in features]
        if len(widths) != len(self.layers) or self.widths not in (None, widths):
            raise FeaturePathsError(
                f"These features are not those of the {len(self.layers)} layers {', '.join(self.layers)} with pooling "
                f"{self.pooling}" + (f", of {self.widths} values." if self.widths else ".")
            )
        return list(features)
