"""Blocks of images, the unit of computation: their rows, padded arrays and tensors, records, and memory limits.

A block that exceeds a GPU's memory is computed in parts, with bit-identical results.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from featurepaths.errors import FeaturePathsError

T = TypeVar("T")
BLOCK = 64
SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, BLOCK)
"""Lengths that blocks, and parts of blocks, are padded to."""
INDEPENDENT = 4
"""The least length from which on a CPU computes each image of a block bit by bit as it does in longer blocks."""


def blocks(count: int, shard: tuple[int, int] = (1, 1)) -> list[slice]:
    """Return the rows of each block of `count` images; the last block may be short.

    Parameters
    ----------
    shard
        (i, n) for the i-th of n parts of nearly equal numbers of blocks, counted from 1.
    """
    all_blocks = split_rows(slice(0, count), BLOCK)
    number, shards = shard
    return all_blocks[(number - 1) * len(all_blocks) // shards : number * len(all_blocks) // shards]


def span(rows_of_blocks: Sequence[slice]) -> slice:
    """Return the rows that adjacent blocks span."""
    return slice(rows_of_blocks[0].start, rows_of_blocks[-1].stop) if rows_of_blocks else slice(0, 0)


def pad_block(rows: np.ndarray, least: int = 1) -> np.ndarray:
    """Return a block's rows [n, ...] padded to `size_of` n, at least `least`, with copies of the last."""
    return np.pad(rows, [(0, size_of(max(len(rows), least)) - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode="edge")


def size_of(count: int) -> int:
    """Return the length that `count` rows are padded to; more than 64 are not."""
    return next((size for size in SIZES if size >= count), count)


def joined(
    parts: Iterator[tuple[slice, Mapping[str, np.ndarray]]], rows_of_blocks: Iterable[slice]
) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """Yield the rows and the records [n, ...] of each block, concatenated from those of its parts, in order."""
    for rows in rows_of_blocks:
        stop, records = rows.start, []
        while stop < rows.stop:
            part, values = next(parts)
            stop = part.stop
            records.append(values)
        yield rows, {name: np.concatenate([values[name] for values in records]) for name in records[0]}


def split_rows(rows: slice, size: int) -> list[slice]:
    """Return the rows of a block in parts of at most `size`."""
    return [slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]


def positions_of_passes(count: int) -> list[np.ndarray]:
    """Return the positions of `count` rows in parts of at most 64, that one pass of a network takes."""
    return [np.arange(rows.start, rows.stop) for rows in blocks(count)]


def to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Return images as float32 [N, C, H, W] in [0, 1], from uint8 [N, H, W, C] or from float32 [N, C, H, W].

    Other arrays keep their shape and type.
    """
    tensor = torch.from_numpy(images).to(device)
    if tensor.dtype == torch.uint8:
        return tensor.permute(0, 3, 1, 2).contiguous().float() / 255
    return tensor


def padded_tensor(rows: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Return a block's rows, padded, as a tensor: images as `to_tensor` does, other values unchanged."""
    return to_tensor(pad_block(rows), device)


def unpadded_arrays(records: Mapping[str, Tensor], rows: slice) -> dict[str, np.ndarray]:
    """Return the records of a block's `rows` as arrays [n, ...], without those of its padding."""
    return {name: values[: rows.stop - rows.start].cpu().numpy() for name, values in records.items()}


def retry_smaller_on_oom(
    work: Callable[[list[slice]], Iterator[tuple[slice, T]]], rows_of_blocks: Iterable[slice]
) -> Iterator[tuple[slice, T]]:
    """Work on blocks; if a block exceeds the GPU's memory, halve it and all following blocks.

    Parameters
    ----------
    work
        Yields the rows and the result of each block passed to it, in order. After running out of memory it is called
        again for the remaining blocks.

    Yields
    ------
    Rows and result of each block or part of a block.

    Raises
    ------
    FeaturePathsError
        If the memory does not hold a single image.
    """
    remaining = list(rows_of_blocks)
    while remaining:
        try:
            for rows, result in work(remaining):
                remaining = remaining[1:]
                yield rows, result
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = size_of(remaining[0].stop - remaining[0].start)
            if size == 1:
                raise FeaturePathsError(
                    "The GPU's memory does not hold the network and one image: set device: cpu, or use a larger GPU."
                ) from error
        else:
            return
        torch.cuda.empty_cache()  # outside `except`, where the error still holds tensors
        print(f"The GPU's memory does not hold {size} images: continuing with {size // 2} at a time.", flush=True)
        remaining = [part for rows in remaining for part in split_rows(rows, size // 2)]


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch or its libraries reports that a GPU's memory is exhausted."""
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)
