"""Attacks over any number of images: an attack returns the records of one block of images at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featurepaths.attacks.apgd import STOPPING_RULES, Budget, Points, Search, apgd
from featurepaths.attacks.norms import random_start, size
from featurepaths.attacks.objective import Objective
from featurepaths.attacks.radius import check_radius
from featurepaths.data.splits import Split
from featurepaths.runtime.blocks import (
    BLOCK,
    INDEPENDENT,
    blocks,
    pad_block,
    padded_tensor,
    positions_of_passes,
    span,
    unpadded_arrays,
)

STOPPING_RULE = "returned"
"""The stopping rule of attacks of libraries and of precomputed images: there is one example per image."""

Records = Mapping[str, np.ndarray]
"""The records [n] of a block's images, by name."""


@dataclass(frozen=True)
class Block:
    """Clean images [64, C, H, W], labels [64] and rows in the data set [64]; those after the first `count` pad it.

    Fewer images, such as survivors, are padded to a smaller size. Blocks that are attacked together are one block of 64
    images or more, for one pass or several. `rows` are those of the whole block in its split.
    """

    clean: Tensor
    labels: Tensor
    indices: np.ndarray
    count: int
    rows: slice

    @classmethod
    def of(cls, images: Split, rows: slice, device: torch.device | str = "cpu") -> "Block":
        """Return the block of some rows of a split, up to 64 padded with copies of the last one."""
        clean, labels = (padded_tensor(values[rows], device) for values in (images, images.labels))
        return cls(clean, labels, pad_block(images.indices[rows]), rows.stop - rows.start, rows)

    def take(self, positions: np.ndarray) -> "Block":
        """Return the block of the images at some of its positions, padded again."""
        padded = pad_block(positions, INDEPENDENT)
        clean, labels, indices = (values[padded] for values in (self.clean, self.labels, self.indices))
        return replace(self, clean=clean, labels=labels, indices=indices, count=len(positions))

    def passes(self) -> list["Block"]:
        """Return the block in parts that one pass of a network takes."""
        return [self.take(positions) for positions in positions_of_passes(self.count)]


def budget_of(ball: Any, search: Any, seed: int, description: Mapping[str, Any], device: torch.device) -> Budget:
    """Return the budget, in pixel values, for the network of a checkpoint's description.

    `ball` has the configuration's keys `norm`, `eps` and `eps_space`, `search` its keys `step` and `iterations`. Of
    the description ``image_shape`` is needed, and ``build`` where radii are in normalized units. FeaturePathsError if
    no two images are as far apart as the radius.
    """
    step = search.step and float(search.step)
    budget = Budget(float(ball.eps), ball.norm, step, search.iterations, seed)
    if ball.eps_space == "normalized":
        budget = budget.scaled(torch.tensor(description["build"]["std"], device=device).view(-1, 1, 1))
    check_radius("eps", budget.smallest_eps, budget.norm, description["image_shape"])
    return budget


def run_blocks(
    attack: Callable[[Block], Records],
    images: Split,
    rows_of_blocks: Sequence[slice] | None = None,
    device: torch.device | str = "cpu",
    together: int = 1,
) -> Iterator[tuple[slice, Records]]:
    """Yield the rows of each block of a split, all by default, and the records that an attack returns for it.

    The attack receives `together` adjacent blocks as one, unless they are smaller than 64 because memory is short.
    """
    own_blocks = blocks(len(images)) if rows_of_blocks is None else list(rows_of_blocks)
    if own_blocks and own_blocks[0].stop - own_blocks[0].start < BLOCK:
        together = 1
    for first in range(0, len(own_blocks), together):
        group = own_blocks[first : first + together]
        all_rows = span(group)
        records = attack(Block.of(images, all_rows, device))
        for rows in group:
            local = slice(rows.start - all_rows.start, rows.stop - all_rows.start)
            yield rows, {name: values[local] for name, values in records.items()}


def autopgd_records(
    block: Block,
    objective: Objective,
    budget: Budget,
    *,
    stopping_rules: Sequence[str] = STOPPING_RULES,
    reference: Objective | None = None,
) -> Records:
    """Attack a block with AutoPGD, including the images that the network already misclassifies.

    See `featurepaths.attacks.apgd.apgd` for the parameters. The records are ``clean_correct``; ``success`` (correct
    when clean, and fooled); ``first_fooled_step``, ``vanished_steps``, ``undefined`` and ``n_queries`` as in
    `featurepaths.attacks.apgd.Search`; and, for every stopping rule, ``<stopping_rule>/adversarial`` [n, C, H, W],
    ``<stopping_rule>/loss`` and ``<stopping_rule>/norm``. An image whose clean logits are not finite is not correct,
    and ``undefined``.
    """
    start = random_start(block.clean, block.indices, budget.eps, budget.norm, budget.seed)
    with torch.no_grad():
        clean = (reference or objective)(block.clean, block.labels)
    search = apgd(
        objective, block.clean, block.labels, start, budget, stopping_rules=stopping_rules, reference=reference
    )
    return _records(block, clean, search, budget.norm)


def records_of_examples(
    block: Block, adversarial: Tensor, reference: Objective, norm: str, queries: int | Tensor
) -> Records:
    """Return the records of a block's adversarial examples [64, C, H, W] that a library or another program made.

    They are those of `autopgd_records` for the stopping rule ``returned``. ``first_fooled_step``, -1, and
    ``vanished_steps``, 0, are unknown. If the reference's loss of an example is not finite, the clean image takes its
    place and is ``undefined``. `queries` is the number of queries of each image, [64] or one number for all.
    """
    with torch.no_grad():
        clean = reference(block.clean, block.labels)
        loss, fooled = reference(adversarial, block.labels)
    finite = loss.isfinite()
    adversarial = torch.where(finite.view(-1, 1, 1, 1), adversarial, block.clean)
    points = Points(adversarial, torch.where(finite, loss, clean[0]), fooled & finite)
    zeros = torch.zeros_like(block.labels, dtype=torch.int32)
    return _records(block, clean, Search({STOPPING_RULE: points}, zeros - 1, zeros, ~finite, queries), norm)


def _records(block: Block, clean: tuple[Tensor, Tensor], search: Search, norm: str) -> Records:
    """Return the records of a search, by loss [64] and criterion [64] of the clean images."""
    clean_loss, wrong_when_clean = clean
    correct = clean_loss.isfinite() & ~wrong_when_clean
    fooled = torch.stack([points.fooled for points in search.points.values()]).any(dim=0)
    records = {
        "clean_correct": correct,
        "success": correct & fooled,
        "first_fooled_step": search.first_fooled_step.int(),
        "vanished_steps": search.vanished_steps,
        "undefined": search.undefined | ~clean_loss.isfinite(),
        "n_queries": torch.zeros_like(search.vanished_steps) + search.queries,
    }
    for stopping_rule, points in search.points.items():
        records[f"{stopping_rule}/adversarial"] = points.adversarial
        records[f"{stopping_rule}/loss"] = points.loss
        records[f"{stopping_rule}/norm"] = size(points.adversarial - block.clean, norm)
    return unpadded_arrays(records, block.rows)
