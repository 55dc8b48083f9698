"""An attack over any number of images, in blocks."""

from collections.abc import Iterator

import numpy as np
import torch

from featurepaths.attacks.apgd import Search, apgd
from featurepaths.attacks.norms import random_start
from featurepaths.attacks.objectives import Objective
from featurepaths.batches import blocks, fill, to_tensor


def attack_blocks(
    objective: Objective,
    images: np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    *,
    eps: float,
    norm: str,
    step: float | None,
    iterations: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, Search]]:
    """Attack every image with AutoPGD, those that the network already gets wrong included.

    Parameters
    ----------
    images, labels, indices
        uint8 images [N, H, W, C], their labels [N] and their rows in the data set [N], which seed their random starts.
    eps, norm, step, iterations
        See `featurepaths.attacks.apgd.apgd`.

    Yields
    ------
    The rows of each block and its search; the block's surplus images, beyond those rows, are copies to be dropped.
    """
    for rows in blocks(len(images)):
        clean = to_tensor(fill(images[rows]), device)
        start = random_start(clean, fill(indices[rows]), eps, norm, seed)
        target = torch.from_numpy(fill(labels[rows])).to(device)
        yield rows, apgd(objective, clean, target, start, eps=eps, norm=norm, step=step, iterations=iterations)
