"""Layer features that are never stored: the network runs over the images whenever they are read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.forward import POOLINGS
from featurepaths.paths.chunks import Accumulator
from featurepaths.paths.features import check_finite, run_blocks
from featurepaths.runtime.blocks import blocks, is_out_of_memory, retry_smaller_on_oom, size_of, split_rows
from featurepaths.runtime.progress import progress
from featurepaths.store.resume import ResumeFiles

MOST_VALUES = 2**28
"""Number of values, one row per class, in the layers that one pass reads: 2 GiB in float64."""
SHARE_OF_SAVES = 1 / 20
"""The greatest share of a pass's time that is spent on saving before its end: sums may be gigabytes."""


class Key(NamedTuple):
    """The pooling of features, and the number of their layer, from 1."""

    pooling: str
    layer: int

    @property
    def name(self) -> str:
        """The layer's name in artefacts."""
        return f"layer{self.layer}"


class FeatureStream:
    """The layer features of images, computed by running a network over them.

    Parameters
    ----------
    network
        In evaluation mode, on `device`.
    layers
        Names of its modules, in order; each runs once in a pass.
    images
        uint8 [N, H, W, C] or float32 [N, C, H, W], read by slices of rows.
    poolings
        Names of `featurepaths.networks.forward.POOLINGS`; one pass of the network serves them all.
    rows_of_blocks
        The blocks of the images to run; all by default.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        images: np.ndarray | Split | h5py.Dataset,
        poolings: Sequence[str],
        device: torch.device | str = "cpu",
        rows_of_blocks: Sequence[slice] | None = None,
    ):
        self.network, self.layers, self.images, self.device = network, list(layers), images, device
        self.widths: dict[Key, int] = {}
        """Number of values of each feature."""

        def measure(name: str, rows: slice, output: Tensor) -> None:
            for pooling in poolings:
                self.widths[Key(pooling, self.layers.index(name) + 1)] = POOLINGS[pooling](output).shape[1]

        def run(trial: Iterable[slice]) -> Iterator[tuple[slice, np.ndarray]]:
            return run_blocks(network, self.layers, images, measure, device, trial)

        all_blocks = blocks(len(images)) if rows_of_blocks is None else list(rows_of_blocks)
        # a trial run, because a block that a reader has begun to sum up cannot be split any more
        rows, logits = next(retry_smaller_on_oom(run, all_blocks[:1] or [slice(0, 1)]))
        self.classes = logits.shape[1]
        self.blocks = [part for block in all_blocks for part in split_rows(block, size_of(rows.stop - rows.start))]

    def passes(self, most_values: int = MOST_VALUES) -> list[list[Key]]:
        """Return the features to read together, in as few passes as memory allows.

        Sums over a feature have one row per class. All rows of a pass together have at most `most_values` values,
        unless a single feature has more.
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
        self, keys: Iterable[Key], callback: Callable[[Key, slice, np.ndarray], None], start: int = 0
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Run the network over the blocks from row `start` on; pass features to `callback`, and yield logits.

        Parameters
        ----------
        callback
            Called with the feature's key, the rows of the block and the features, float32 [n, d], once the layer has
            run. They are freed before later layers run.

        Yields
        ------
        The rows of a block and its logits, float32 [n, classes].

        Raises
        ------
        FeaturePathsError
            If a feature or a logit is not finite, or the GPU runs out of memory.
        """
        keys_of_layer: dict[str, list[Key]] = {}
        for key in keys:
            keys_of_layer.setdefault(self.layers[key.layer - 1], []).append(key)

        def pool(name: str, rows: slice, output: Tensor) -> None:
            check_finite(f"Features of layer {name} are", output, rows)
            for key in keys_of_layer[name]:
                feature = POOLINGS[key.pooling](output)[: rows.stop - rows.start]
                callback(key, rows, feature.float().cpu().numpy())

        remaining = self.blocks_from(start)
        try:
            yield from run_blocks(self.network, list(keys_of_layer), self.images, pool, self.device, remaining)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise FeaturePathsError(
                "The GPU ran out of memory in the middle of a pass, although it held a block before. Another process "
                "may use the GPU. Run again, or set device: cpu."
            ) from error

    def accumulate(
        self,
        accumulators: Mapping[Key, Accumulator],
        labels: np.ndarray,
        label: str,
        saved: ResumeFiles,
        name: str,
        stop: Callable[[], object] = lambda: False,
    ) -> None:
        """Run the network over all images once, and add the features of each key to its accumulator.

        A pass that was stopped continues after the last saved block.

        Parameters
        ----------
        labels
            Labels of all images of the stream [N].
        label
            Shown next to the progress.
        saved, name
            Holds the file of this pass: read at the start if it exists, written every 45 seconds, when stopped, and at
            the end.
        stop
            Is asked after each block whether to leave the rest for another time.
        """
        attributes = {
            f"{key.pooling}/{key.layer}/{attribute}": (accumulator, attribute)
            for key, accumulator in accumulators.items()
            for attribute in accumulator.ACCUMULATED
        }
        arrays, done = saved.load_arrays(name), 0
        # other blocks where a GPU's memory holds more now than it did then
        if arrays.keys() == {"done", *attributes} and arrays["done"] in [rows.stop for rows in self.blocks]:
            done = int(arrays["done"])
            for entry, attribute in attributes.items():
                setattr(*attribute, arrays[entry][()])
            print(f"{label}: resumed after {done} of {len(labels)} images", flush=True)

        def add(key: Key, rows: slice, features: np.ndarray) -> None:
            accumulators[key].add(features, labels[rows])

        blocks_left = len(self.blocks_from(done))
        for rows, _ in progress(self.read(accumulators, add, done), label, blocks_left, "blocks of 64"):
            stopping = stop()
            if stopping or saved.due(SHARE_OF_SAVES) or rows.stop == len(labels):
                sums = {entry: getattr(*attribute) for entry, attribute in attributes.items()}
                saved.save_arrays({"done": np.array(rows.stop), **sums}, name)
            if stopping:
                return
