"""Attacks over any number of images, block by block: AutoPGD, and the records that all attacks share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from featurepaths.attacks.apgd import STOPPING_RULES, apgd
from featurepaths.attacks.norms import random_start, size
from featurepaths.attacks.objective import Objective
from featurepaths.data.splits import Split
from featurepaths.runtime.blocks import blocks, pad_block, padded_tensor, unpadded_arrays

STOPPING_RULE = "returned"
"""The stopping rule of attacks of libraries and of precomputed images: there is one example per image."""

Records = Iterator[tuple[slice, Mapping[str, np.ndarray]]]
"""The rows of each block and its records [n], by name."""


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
) -> Records:
    """Attack every image with AutoPGD, including those that the network already misclassifies.

    Parameters
    ----------
    images, labels, indices
        uint8 images [N, H, W, C], read by slices of rows; their labels [N]; and their rows in the data set [N], which
        seed their random starts.
    rows_of_blocks
        The blocks to attack; all by default.
    eps, norm, step, iterations, stopping_rules, reference
        See `featurepaths.attacks.apgd.apgd`.

    Yields
    ------
    The rows of each block and its records [n], by name: ``clean_correct``; ``success`` (correct when clean, and
    fooled); ``first_fooled_step``, ``vanished_steps``, ``undefined`` and ``n_queries`` as in
    `featurepaths.attacks.apgd.Search`; and, for every stopping rule, ``<stopping_rule>/adversarial`` [n, C, H, W],
    ``<stopping_rule>/loss`` and ``<stopping_rule>/norm``. An image whose clean logits are not finite is not correct,
    and ``undefined``.
    """

    def attack(clean: Tensor, targets: Tensor, rows: slice) -> dict[str, Tensor]:
        start = random_start(clean, pad_block(indices[rows]), eps, norm, seed)
        with torch.no_grad():
            clean_loss, wrong_when_clean = (reference or objective)(clean, targets)
        finite = clean_loss.isfinite()
        correct = finite & ~wrong_when_clean
        search = apgd(
            objective, clean, targets, start, eps=eps, norm=norm, step=step, iterations=iterations,
            stopping_rules=stopping_rules, reference=reference,
        )  # fmt: skip
        fooled = torch.stack([points.fooled for points in search.points.values()]).any(dim=0)
        records = {
            "clean_correct": correct,
            "success": correct & fooled,
            "first_fooled_step": search.first_fooled_step.int(),
            "vanished_steps": search.vanished_steps,
            "undefined": search.undefined | ~finite,
            "n_queries": torch.full_like(search.vanished_steps, search.queries),
        }
        for stopping_rule, points in search.points.items():
            records[f"{stopping_rule}/adversarial"] = points.adversarial
            records[f"{stopping_rule}/loss"] = points.loss
            records[f"{stopping_rule}/norm"] = size(points.adversarial - clean, norm)
        return records

    return run_blocks(attack, images, labels, rows_of_blocks, device)


def run_blocks(
    attack: Callable[[Tensor, Tensor, slice], Mapping[str, Tensor]],
    images: Split | np.ndarray,
    labels: np.ndarray,
    rows_of_blocks: Iterable[slice] | None = None,
    device: torch.device | str = "cpu",
) -> Records:
    """Yield the records of an attack on each block, all by default.

    `attack` returns records, by name, of a padded block of clean images [64, C, H, W] and labels [64], and its rows;
    the block may be shorter: see `featurepaths.runtime.blocks.pad_block`.
    """
    for rows in blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks:
        clean, targets = padded_tensor(images[rows], device), padded_tensor(labels[rows], device)
        yield rows, unpadded_arrays(attack(clean, targets, rows), rows)


def records_of_examples(
    reference: Objective, clean: Tensor, adversarial: Tensor, labels: Tensor, norm: str, queries: int | Tensor
) -> dict[str, Tensor]:
    """Return the records, by name, of a block of adversarial examples that a library or another program made.

    They are those of `attack_blocks` for the stopping rule ``returned``. ``first_fooled_step``, -1, and
    ``vanished_steps``, 0, are unknown. If the reference's loss of an example is not finite, the clean image takes its
    place and is ``undefined``.

    Parameters
    ----------
    reference
        The loss, and whether an image [N, C, H, W] with its label [N] fools the network.
    norm, queries
        The norm of the perturbations; and the number of queries of each image, [N] or one number for all.
    """
    with torch.no_grad():
        clean_loss, wrong_when_clean = reference(clean, labels)
        loss, fooled = reference(adversarial, labels)
    correct, finite = clean_loss.isfinite() & ~wrong_when_clean, loss.isfinite()
    adversarial = torch.where(finite.view(-1, 1, 1, 1), adversarial, clean)
    zeros = torch.zeros_like(labels, dtype=torch.int32)
    return {
        "clean_correct": correct,
        "success": correct & fooled & finite,
        "undefined": ~(clean_loss.isfinite() & finite),
        "first_fooled_step": zeros - 1,
        "vanished_steps": zeros,
        "n_queries": zeros + queries,
        f"{STOPPING_RULE}/adversarial": adversarial,
        f"{STOPPING_RULE}/loss": torch.where(finite, loss, clean_loss),
        f"{STOPPING_RULE}/norm": size(adversarial - clean, norm),
    }
