"""Layer features that are never stored: the network runs over the images again whenever they are read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.features import POOLINGS, check_finite, run_blocks
from featurepaths.runtime.blocks import blocks, size_of, split_rows
from featurepaths.runtime.oom import is_out_of_memory, retry_smaller_on_oom

MOST_VALUES = 2**28
"""Values that one row a class may have in the layers that one pass reads: 2 GiB in float64."""


class Key(NamedTuple):
    """Which features: how they are pooled, and the number of their layer, from 1."""

    pooling: str
    layer: int

    @property
    def name(self) -> str:
        """What artefacts call the layer."""
        return f"layer{self.layer}"


class FeatureStream:
    """The layer features of images, by a network that runs over them.

    Parameters
    ----------
    network
        In evaluation mode, on `device`.
    layers
        Names of its modules, in order; each has to run once in a pass.
    images
        uint8 [N, H, W, C] or float32 [N, C, H, W], read by slices of rows.
    poolings
        Names of `featurepaths.paths.features.POOLINGS`; one pass of the network serves them all.
    rows_of_blocks
        Which blocks of the images to take; all by default.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        images: np.ndarray | Split | h5py.Dataset,
        poolings: Iterable[str],
        device: torch.device | str = "cpu",
        rows_of_blocks: Sequence[slice] | None = None,
    ):
        self.network, self.layers, self.images, self.device = network, list(layers), images, device
        self.widths: dict[Key, int] = {}
        """How many values each feature has."""
        poolings = list(poolings)

        def measure(name: str, rows: slice, output: Tensor) -> None:
            for pooling in poolings:
                key = Key(pooling, self.layers.index(name) + 1)
                self.widths[key] = POOLINGS[pooling](output).shape[1]

        def run(chosen: Iterable[slice]) -> Iterator[tuple[slice, np.ndarray]]:
            return run_blocks(network, self.layers, images, measure, device, chosen)

        chosen = blocks(len(images)) if rows_of_blocks is None else list(rows_of_blocks)
        # a trial, because whoever reads may sum features up, and could not be shown a block in parts once it has begun
        rows, logits = next(retry_smaller_on_oom(run, chosen[:1] or [slice(0, 1)]))
        self.classes = logits.shape[1]
        self.blocks = [part for block in chosen for part in split_rows(block, size_of(rows.stop - rows.start))]

    def passes(self, most_values: int = MOST_VALUES) -> list[list[Key]]:
        """Return which features to read together, in as few passes as memory allows.

        What is gathered of a feature of d values has a row a class: all rows of a pass together have at most
        `most_values`, but for a feature that is larger alone.
        """
        groups: list[list[Key]] = []
        room = 0
        for key, width in sorted(self.widths.items(), key=lambda item: item[0].layer):
            if self.classes * width > room:
                groups.append([])
                room = most_values
            groups[-1].append(key)
            room -= self.classes * width
        return groups

    def blocks_from(self, start: int) -> list[slice]:
        """Return the blocks that begin at row `start` or later."""
        return [rows for rows in self.blocks if rows.start >= start]

    def read(
        self, keys: Iterable[Key], see: Callable[[Key, slice, np.ndarray], None], start: int = 0
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Run the network over the blocks from row `start` on; `see` each feature once its layer has run; yield logits.

        Parameters
        ----------
        see
            It is called with the feature's key, the rows of the block and the features, float32 [n, d], which are gone
            when the next layers run.

        Yields
        ------
        The rows of a block and its logits, float32 [n, classes].

        Raises
        ------
        FeaturePathsError
            If a feature or a logit is not finite, or a GPU's memory is used up.
        """
        wanted: dict[str, list[Key]] = {}
        for key in keys:
            wanted.setdefault(self.layers[key.layer - 1], []).append(key)

        def look(name: str, rows: slice, output: Tensor) -> None:
            check_finite(f"Layer {name} gives a feature that is", output, rows)
            for key in wanted[name]:
                feature = POOLINGS[key.pooling](output)[: rows.stop - rows.start]
                see(key, rows, feature.float().cpu().numpy())

        try:
            chosen = self.blocks_from(start)
            yield from run_blocks(self.network, list(wanted), self.images, look, self.device, chosen)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise FeaturePathsError(
                "The GPU's memory was used up in the middle of a pass, although it held a block before: somebody else "
                "may use the GPU. Run again, or set device: cpu."
            ) from error
