"""Which test images the explorer's page shows: those that most attacks were run on, as many as it has room for."""

from collections.abc import Sequence

import numpy as np

from featurepaths.data.splits import evenly_spaced

BYTES = 14_000_000
"""Bytes of a page for images and bands of classes; its code takes 0.3 MB more, so it stays below 15 MB."""
PACKED = 1.35
"""Bytes of a page per byte of pictures or records: base64 of noise that PNG cannot compress."""


def room(of_image: int, of_bands: int) -> int:
    """Return for how many images a page has room, at least one; sizes are bytes before base64, of all versions."""
    return max(int((BYTES / PACKED - of_bands) / of_image), 1)


def most_attacked(
    index: np.ndarray, adaptive: Sequence[np.ndarray], oblivious: Sequence[np.ndarray], limit: int
) -> np.ndarray:
    """Return ascending positions in `index` [N] of at most `limit` images.

    First come the images that most adaptive attacks were run on, among those the ones that most other attacks were run
    on, and last those without any. Of equals that do not all fit, it takes evenly spaced ones.

    Parameters
    ----------
    index
        The images' rows in the data set.
    adaptive, oblivious
        The rows that each attack was run on.
    """
    by_adaptive, by_oblivious = (
        sum((np.isin(index, rows) for rows in each), np.zeros(len(index), int)) for each in (adaptive, oblivious)
    )
    ranks = by_adaptive * (len(oblivious) + 1) + by_oblivious
    positions = np.arange(0)
    for rank in np.unique(ranks)[::-1]:
        (equals,) = np.nonzero(ranks == rank)
        positions = np.append(positions, equals[evenly_spaced(len(equals), limit - len(positions))])
    return np.sort(positions)
