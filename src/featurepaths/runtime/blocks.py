"""Blocks of images: how many are computed together, and arrays and tensors cut and padded to them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
BLOCK = 64
SIZES = (1, 2, 4, 8, 16, 32, BLOCK)
"""What a block, or a part of one, is filled up to: the first of them that holds it."""


def blocks(count: int, shard: tuple[int, int] = (1, 1)) -> list[slice]:
    """Return the rows of each block of `count` images; the last block may be short.

    Parameters
    ----------
    shard
        (i, n) for the i-th of n parts of about as many blocks each, counted from 1.
    """
    all_blocks = [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    number, shards = shard
    return all_blocks[(number - 1) * len(all_blocks) // shards : number * len(all_blocks) // shards]


def span(rows_of_blocks: Sequence[slice]) -> slice:
    """Return the rows of adjacent blocks together."""
    return slice(rows_of_blocks[0].start, rows_of_blocks[-1].stop) if rows_of_blocks else slice(0, 0)


def pad_block(rows: np.ndarray) -> np.ndarray:
    """Return a block's rows [n, ...], n <= 64, filled up to one of `SIZES` with copies of the last one."""
    return np.pad(rows, [(0, size_of(len(rows)) - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode="edge")


def size_of(count: int) -> int:
    """Return what `count` rows are filled up to."""
    return next(size for size in SIZES if size >= count)


def joined(
    parts: Iterator[tuple[slice, Mapping[str, np.ndarray]]], rows_of_blocks: Iterable[slice]
) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """Yield the rows of each block and its records [n, ...], put together of those of its parts, in order."""
    for rows in rows_of_blocks:
        found = [next(parts)]
        while found[-1][0].stop < rows.stop:
            found.append(next(parts))
        records = [each for _, each in found]
        yield rows, {name: np.concatenate([each[name] for each in records]) for name in records[0]}


def split_rows(rows: slice, size: int) -> list[slice]:
    """Return the rows of a block in parts of at most `size`."""
    return [slice(start, min(start + size, rows.stop)) for start in range(rows.start, rows.stop, size)]


def to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Return images as float32 [N, C, H, W] in [0, 1], from uint8 [N, H, W, C] or from float32 [N, C, H, W]."""
    tensor = torch.from_numpy(images).to(device)
    if tensor.dtype == torch.uint8:
        return tensor.permute(0, 3, 1, 2).contiguous().float() / 255
    return tensor


def finite_rows(values: Tensor) -> Tensor:
    """Return of which images all values [N, ...] are finite, bool [N]: extremes take a tenth of `isfinite`'s time."""
    rows = values.detach().flatten(1)
    return rows.amax(dim=1).isfinite() & rows.amin(dim=1).isfinite()
