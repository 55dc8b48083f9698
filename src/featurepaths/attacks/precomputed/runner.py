"""Precomputed adversarial images, evaluated as an attack."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from featurepaths.attacks.norms import size
from featurepaths.attacks.objective import Objective
from featurepaths.attacks.precomputed.files import ROUNDING, AdversarialImages
from featurepaths.attacks.runner import Block, Records, records_of_examples
from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.runtime.blocks import padded_tensor

UNKNOWN = -1


def precomputed_records(block: Block, precomputed: AdversarialImages, reference: Objective, norm: str) -> Records:
    """Evaluate the precomputed adversarial images of a block as if an attack had returned them.

    Values within rounding of the clean image's count as unchanged. The records are those of
    `featurepaths.attacks.runner.records_of_examples`; ``n_queries`` is unknown, -1.
    """
    return records_of_examples(block, _examples(block, precomputed), reference, norm, UNKNOWN)


def check_distances(
    precomputed: AdversarialImages,
    images: Split,
    rows_of_blocks: Iterable[slice],
    norm: str,
    eps: float | None,
) -> None:
    """Check the perturbations of all blocks of the clean images, on the CPU; None as `eps` sets no bound.

    Raises
    ------
    FeaturePathsError
        If perturbations are greater than `eps` by more than rounding: their number and images. If neither `eps` nor an
        index in the file shows which image each was made from.
    """
    if eps is None:
        if not precomputed.indexed:
            raise FeaturePathsError(
                f"{precomputed.path} has no 'index', so only distances show whether its images have the split's order. "
                "Set the eps of the attack."
            )
        return
    values = int(np.prod(precomputed.array.shape[1:]))
    # by how much rounding of every value can lengthen a perturbation
    slack = precomputed.rounding * {"linf": 1, "l2": values**0.5, "l1": values, "l0": 0}[norm]
    far, greatest = [], 0.0
    for rows in rows_of_blocks:
        block = Block.of(images, rows)
        distances = size(_examples(block, precomputed) - block.clean, norm)[: block.count].cpu().numpy()
        far.extend(precomputed.positions[rows][distances > eps * (1 + 1e-4) + slack])
        greatest = max(greatest, float(distances.max()))
    if far:
        nearly = precomputed.array.dtype == np.uint8 and norm == "linf" and greatest <= eps * (1 + 1e-4) + 2 * slack
        remedy = (
            "All are within one level of 255: if the images were cut instead of rounded, store "
            "np.round(images * 255).astype(np.uint8); if the attack had that eps, set it."
            if nearly
            else "Set the eps of the attack that made them, or leave eps out. If it is right, 'index' lacks the "
            "positions of the clean images in their split."
        )
        raise FeaturePathsError(
            f"{precomputed.path}: the perturbation of {counted(far)} is greater than eps ({norm}, {eps:g}), up to "
            f"{greatest:g}. {remedy}"
        )


def _examples(block: Block, precomputed: AdversarialImages) -> Tensor:
    adversarial = padded_tensor(precomputed[block.rows], block.clean.device)
    return torch.where((adversarial - block.clean).abs() <= ROUNDING, block.clean, adversarial)
