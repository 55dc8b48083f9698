"""Out of memory: work is retried on smaller blocks, with bit-identical results."""

from collections.abc import Callable, Iterable, Iterator

import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.blocks import T, size_of, split_rows


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
    left = list(rows_of_blocks)
    while left:
        try:
            for rows, result in work(left):
                left = left[1:]
                yield rows, result
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            size = size_of(left[0].stop - left[0].start)
            if size == 1:
                raise FeaturePathsError(
                    "The GPU's memory does not hold the network and one image: set device: cpu, or use a larger GPU."
                ) from error
        else:
            return
        torch.cuda.empty_cache()  # outside `except`, where the error still holds tensors
        print(f"The GPU's memory does not hold {size} images: continuing with {size // 2} at a time.", flush=True)
        left = [part for rows in left for part in split_rows(rows, size // 2)]


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch or its libraries reports that a GPU's memory is exhausted."""
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)
