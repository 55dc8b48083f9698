"""Images in fixed blocks, so that no number depends on how the work was cut.

The logits of an image differ in their last bits with the size of the batch it comes in. Attacks and extraction
therefore always work on blocks of 64 images, cut at multiples of 64 of the image's position in its split, the last one
filled up with copies.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BLOCK = 64


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


def extent(rows_of_blocks: Sequence[slice]) -> slice:
    """Return the rows of adjacent blocks together."""
    return slice(rows_of_blocks[0].start, rows_of_blocks[-1].stop) if rows_of_blocks else slice(0, 0)


def fill(rows: np.ndarray) -> np.ndarray:
    """Return a block's rows [n, ...], n <= 64, filled up to 64 with copies of the last one."""
    return np.pad(rows, [(0, BLOCK - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode="edge")


def to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Return images as float32 [N, C, H, W] in [0, 1], from uint8 [N, H, W, C] or from float32 [N, C, H, W]."""
    tensor = torch.from_numpy(images).to(device)
    if tensor.dtype == torch.uint8:
        return tensor.permute(0, 3, 1, 2).contiguous().float() / 255
    return tensor
