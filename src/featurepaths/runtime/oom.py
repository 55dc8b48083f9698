"""Out of memory: work is retried on smaller blocks, with bit-identical results."""

from collections.abc import Callable, Iterable, Iterator

import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.blocks import T, size_of, split_rows


def retry_smaller_on_oom(
    work: Callable[[list[slice]], Iterator[tuple[slice, T]]], rows_of_blocks: Iterable[slice]
) -> Iterator[tuple[slice, T]]:
    """Work on blocks; where a GPU's memory does not hold one, on its halves, and on parts of that size from then on.

    Parameters
    ----------
    work
        Yields the rows of each block that it is given, in order, and what it found. It is called again for what is
        left when it runs out of memory.

    Yields
    ------
    The rows of each block, or part of one, and what was found.

    Raises
    ------
    FeaturePathsError
        If the memory does not hold a single image.
    """
    left = list(rows_of_blocks)
    while left:
        try:
            for rows, found in work(left):
                left = left[1:]
                yield rows, found
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
        torch.cuda.empty_cache()  # not in `except`, where the error still holds what did not fit
        print(f"The GPU's memory does not hold {size} images: going on with {size // 2} at a time.", flush=True)
        left = [part for rows in left for part in split_rows(rows, size // 2)]


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that a GPU's memory is used up; torch's libraries have words of their own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)
