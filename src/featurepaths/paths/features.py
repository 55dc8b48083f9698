"""Layer features of images: the points h of the paper's feature paths (section 2.1)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.networks.hooks import forward_seeing
from featurepaths.runtime.blocks import blocks, finite_rows, padded_tensor
from featurepaths.runtime.oom import retry_smaller_on_oom

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
    The rows of a block, or of a part of one (see `featurepaths.runtime.oom.retry_smaller_on_oom`), its logits [n, classes] in float32,
    and by pooling its features, one [n, d] in float16 a layer.

    Raises
    ------
    FeaturePathsError
        If a feature or a logit is not finite, or too large for float16.
    """
    found: dict[tuple[str, str], np.ndarray] = {}

    def keep(name: str, rows: slice, output: Tensor) -> None:
        for pooling in poolings:
            found[pooling, name] = _as_float16(POOLINGS[pooling](output)[: rows.stop - rows.start], name, rows)

    def run(chosen: Iterable[slice]) -> Iterator[tuple[slice, np.ndarray]]:
        return run_blocks(network, layers, images, keep, device, chosen)

    chosen = blocks(len(images)) if rows_of_blocks is None else rows_of_blocks
    for rows, logits in retry_smaller_on_oom(run, chosen):
        yield rows, logits, {pooling: [found.pop((pooling, name)) for name in layers] for pooling in poolings}


def run_blocks(
    network: nn.Module,
    layers: Sequence[str],
    images: np.ndarray | Split | h5py.Dataset,
    see: Callable[[str, slice, Tensor], None],
    device: torch.device | str = "cpu",
    rows_of_blocks: Iterable[slice] | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Run `network` over images, in blocks; `see` the outputs of its layers one by one, and yield the logits.

    Parameters
    ----------
    see
        It is called with a layer's name, the rows of the block and the layer's output for them, a block filled up to 64
        images; what it does not keep is gone before the next layers have theirs.

    Yields
    ------
    The rows of a block and its logits [n, classes] in float32.

    Raises
    ------
    FeaturePathsError
        If a logit is not finite, naming images by their rows, or there is not a row of them for each image.
    """
    for rows in blocks(len(images)) if rows_of_blocks is None else rows_of_blocks:
        with torch.inference_mode():
            pixels = padded_tensor(images[rows], device)
            logits = forward_seeing(network, pixels, layers, lambda name, output, rows=rows: see(name, rows, output))
        if logits.dim() != 2 or len(logits) != len(pixels):
            raise FeaturePathsError(
                f"The network gives logits of shape {tuple(logits.shape)} for {len(pixels)} images, not [N, classes]."
            )
        check_finite("The network gives logits that are", logits, rows)
        yield rows, logits[: rows.stop - rows.start].cpu().numpy()


def check_finite(what: str, values: Tensor, rows: slice) -> None:
    """Raise FeaturePathsError if values [N, ...] of the images `rows`, filled up, are not finite: which images."""
    if not (finite := finite_rows(values[: rows.stop - rows.start])).all():
        wrong = ~finite.cpu().numpy()
        raise FeaturePathsError(
            f"{what} not finite for {counted(np.arange(rows.start, rows.stop)[wrong])}, from 0. "
            "Leave these images out of the data, or correct the network."
        )


def _as_float16(feature: Tensor, layer: str, rows: slice) -> np.ndarray:
    halved = feature.half()
    if not torch.isfinite(halved).all():
        check_finite(f"Layer {layer} gives a feature that is", feature, rows)
        raise FeaturePathsError(
            f"Layer {layer} gives a feature of {feature.abs().max():.4g}, which float16 cannot hold (at most 65504)."
        )
    return halved.cpu().numpy()
