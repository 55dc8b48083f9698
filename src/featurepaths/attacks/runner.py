"""An attack over any number of images, in blocks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from featurepaths.attacks.apgd import STOPPING_RULES, apgd
from featurepaths.attacks.norms import random_start, size
from featurepaths.attacks.objective import Objective
from featurepaths.data.splits import Split
from featurepaths.runtime.blocks import blocks, pad_block, padded_tensor, unpadded_arrays


def attack_blocks(
    objective: Objective,
    images: Split | np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    rows_of_blocks: Iterable[slice] | None = None,
    *,
    eps: float | Tensor,
    norm: str,
    step: float | Tensor | None,
    iterations: int,
    seed: int,
    stopping_rules: Sequence[str] = STOPPING_RULES,
    reference: Objective | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """Attack every image with AutoPGD, those that the network already gets wrong included.

    Parameters
    ----------
    images, labels, indices
        uint8 images [N, H, W, C], read by slices of rows; their labels [N]; and their rows in the data set [N], which
        seed their random starts.
    rows_of_blocks
        Which blocks of them to attack; all by default.
    eps, norm, step, iterations, keeps, judge
        See `featurepaths.attacks.apgd.apgd`.

    Yields
    ------
    The rows of each block and its records [n], by name: ``clean_correct``; ``success`` (correct when clean and fooled);
    ``first_fooled_step``, ``vanished_steps``, ``undefined`` and ``n_queries`` as in `featurepaths.attacks.apgd.Search`;
    and of every stopping rule ``<stopping_rule>/adversarial`` [n, C, H, W], ``<stopping_rule>/loss`` and ``<stopping_rule>/norm``. An image whose
    clean logits are not finite is not correct, and ``undefined``.
    """
    for rows in blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks:
        clean = padded_tensor(images[rows], device)
        target = padded_tensor(labels[rows], device)
        start = random_start(clean, pad_block(indices[rows]), eps, norm, seed)
        with torch.no_grad():
            clean_loss, wrong_when_clean = (reference or objective)(clean, target)
        answered = clean_loss.isfinite()
        correct = answered & ~wrong_when_clean
        search = apgd(
            objective,
            clean,
            target,
            start,
            eps=eps,
            norm=norm,
            step=step,
            iterations=iterations,
            stopping_rules=stopping_rules,
            reference=reference,
        )
        fooled = torch.stack([points.fooled for points in search.points.values()]).any(dim=0)
        records = {
            "clean_correct": correct,
            "success": correct & fooled,
            "first_fooled_step": search.first_fooled_step.int(),
            "vanished_steps": search.vanished_steps,
            "undefined": search.undefined | ~answered,
            "n_queries": torch.full_like(search.vanished_steps, search.queries),
        }
        for stopping_rule, points in search.points.items():
            records[f"{stopping_rule}/adversarial"] = points.adversarial
            records[f"{stopping_rule}/loss"] = points.loss
            records[f"{stopping_rule}/norm"] = size(points.adversarial - clean, norm)
        yield rows, unpadded_arrays(records, rows)
