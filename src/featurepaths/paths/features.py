"""Layer features of images: the points h of the paper's feature paths (section 2.1)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.networks.forward import POOLINGS, finite_rows, forward_with_callback
from featurepaths.networks.running import logits_of
from featurepaths.runtime.blocks import blocks, padded_tensor, retry_smaller_on_oom


def extract_blocks(
    network: nn.Module,
    layers: Sequence[str],
    images: np.ndarray | Split | h5py.Dataset,
    poolings: Sequence[str],
    device: torch.device | str = "cpu",
    rows_of_blocks: Iterable[slice] | None = None,
) -> Iterator[tuple[slice, np.ndarray, Mapping[str, list[np.ndarray]]]]:
    """Run `network` over images, in blocks, and yield the features of its layers.

    Parameters
    ----------
    layers
        Names of the modules that are the layers, in order.
    images
        uint8 [N, H, W, C] or float32 [N, C, H, W], read by slices of rows.
    poolings
        Names of `POOLINGS`; one pass of the network serves them all.
    rows_of_blocks
        The blocks of the images to run; all by default.

    Yields
    ------
    The rows of a block, or of a part of one (see `featurepaths.runtime.blocks.retry_smaller_on_oom`), its logits
    [n, classes] in float32, and by pooling its features, [n, d] in float16 per layer.

    Raises
    ------
    FeaturePathsError
        If a feature or a logit is not finite, or too large for float16.
    """
    features: dict[tuple[str, str], np.ndarray] = {}

    def keep(name: str, rows: slice, output: Tensor) -> None:
        for pooling in poolings:
            features[pooling, name] = _as_float16(POOLINGS[pooling](output)[: rows.stop - rows.start], name, rows)

    def run(some_blocks: Iterable[slice]) -> Iterator[tuple[slice, np.ndarray]]:
        return run_blocks(network, layers, images, keep, device, some_blocks)

    all_blocks = blocks(len(images)) if rows_of_blocks is None else rows_of_blocks
    for rows, logits in retry_smaller_on_oom(run, all_blocks):
        yield rows, logits, {pooling: [features.pop((pooling, name)) for name in layers] for pooling in poolings}


def run_blocks(
    network: nn.Module,
    layers: Sequence[str],
    images: np.ndarray | Split | h5py.Dataset,
    callback: Callable[[str, slice, Tensor], None],
    device: torch.device | str = "cpu",
    rows_of_blocks: Iterable[slice] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Run `network` over images, in blocks; pass each layer's output to `callback`, and yield the logits.

    Parameters
    ----------
    callback
        Called with a layer's name, the rows of the block and the layer's output for the padded block. Outputs that it
        does not keep are freed before later layers run.

    Yields
    ------
    The rows of a block and its logits [n, classes] in float32.

    Raises
    ------
    FeaturePathsError
        If a logit is not finite, naming images by their rows, or there is not one row of logits per image.
    """
    for rows in blocks(len(images)) if rows_of_blocks is None else rows_of_blocks:
        with torch.inference_mode():
            pixels = padded_tensor(images[rows], device)
            output = forward_with_callback(
                network, pixels, layers, lambda name, output, rows=rows: callback(name, rows, output)
            )
        logits = logits_of(output, pixels)
        check_finite("The network's logits are", logits, rows)
        yield rows, logits[: rows.stop - rows.start].cpu().numpy()


def check_finite(subject: str, values: Tensor, rows: slice) -> None:
    """Raise FeaturePathsError, naming the images, if values [N, ...] of the padded block `rows` are not finite."""
    if not (finite := finite_rows(values[: rows.stop - rows.start])).all():
        rejected = ~finite.cpu().numpy()
        raise FeaturePathsError(
            f"{subject} not finite for {counted(np.arange(rows.start, rows.stop)[rejected])} (counted from 0). "
            "Remove these images from the data, or correct the network."
        )


def _as_float16(feature: Tensor, layer: str, rows: slice) -> np.ndarray:
    halved = feature.half()
    if not torch.isfinite(halved).all():
        check_finite(f"Features of layer {layer} are", feature, rows)
        raise FeaturePathsError(
            f"A feature of layer {layer} is {feature.abs().max():.4g}, which exceeds the range of float16 (65504). Set "
            "features.storage: stream, or choose another layer."
        )
    return halved.cpu().numpy()
