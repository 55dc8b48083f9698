"""Layer features of images: the points h of the paper's feature paths (section 2.1)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.batches import blocks, fill, to_tensor
from featurepaths.data import Split
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.tap import forward_intermediates

POOLINGS = {
    "flatten": lambda output: output.flatten(1),
    "mean": lambda output: output.mean(dim=tuple(range(2, output.dim()))) if output.dim() > 2 else output,
}
"""From a layer's output [N, d, ...] to its feature: every value (the paper's), or each channel's average over all
places, or tokens."""


def extract_blocks(
    network: nn.Module,
    layers: Sequence[str],
    images: np.ndarray | Split | h5py.Dataset,
    poolings: Sequence[str],
    device: torch.device | str = "cpu",
    rows_of_blocks: Iterable[slice] | None = None,
) -> Iterator[tuple[slice, np.ndarray, Mapping[str, list[np.ndarray]]]]:
    """Run `network` over images, in blocks, and yield what its layers gave.

    Parameters
    ----------
    layers
        Names of the modules to tap, in order.
    images
        uint8 [N, H, W, C] or float32 [N, C, H, W], read by slices of rows.
    poolings
        Names of `POOLINGS`; one pass of the network serves them all.
    rows_of_blocks
        Which blocks of the images to take; all by default.

    Yields
    ------
    The rows of a block, its logits [n, classes] in float32, and by pooling its features, one [n, d] in float16 a layer.

    Raises
    ------
    FeaturePathsError
        If a feature or a logit is not finite, or too large for float16.
    """
    for rows in blocks(len(images)) if rows_of_blocks is None else rows_of_blocks:
        with torch.inference_mode():
            logits, outputs = forward_intermediates(network, to_tensor(fill(images[rows]), device), layers)
            count = rows.stop - rows.start
            features = {
                pooling: [
                    _as_float16(POOLINGS[pooling](output)[:count], name)
                    for name, output in zip(layers, outputs, strict=True)
                ]
                for pooling in poolings
            }
        if not torch.isfinite(logits).all():
            raise FeaturePathsError("The network gives logits that are not finite.")
        yield rows, logits[:count].cpu().numpy(), features


def _as_float16(feature: Tensor, layer: str) -> np.ndarray:
    halved = feature.half()
    if not torch.isfinite(halved).all():
        raise FeaturePathsError(
            f"Layer {layer} gives a feature of {feature.abs().max():.4g}, which float16 cannot hold (at most 65504)."
        )
    return halved.cpu().numpy()
