"""Adversarial images that were made elsewhere, in place of an attack."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.attacks.objective import misclassify
from featurepaths.attacks.precomputed.files import ROUNDING, AdversarialImages
from featurepaths.attacks.torchattacks.runner import distance, judged
from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.runtime.blocks import blocks, padded_tensor, unpadded_arrays

UNKNOWN = -1


def precomputed_blocks(
    network: nn.Module,
    images: Split | np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    rows_of_blocks: Iterable[slice] | None = None,
    *,
    made: AdversarialImages,
    norm: str,
    eps: float | None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """Judge adversarial images by the network, as if an attack had just made them.

    Values that are no more than rounding away from the clean image's count as unchanged.

    Parameters
    ----------
    network
        Gives logits.
    images, labels, indices
        The clean images that they were made from, uint8 [N, H, W, C], read by slices of rows; their labels [N]; and
        their rows in the data set [N], which nothing depends on.
    rows_of_blocks
        Which blocks of them to judge; all by default.
    made
        The adversarial images, in the same order.
    norm, eps
        What perturbations are measured in, and how great they may be, but for rounding; None for any.

    Yields
    ------
    The rows of each block and its records [n], by name, as in `featurepaths.attacks.torchattacks.runner.torchattacks_blocks`, the clean image in
    the place of an example whose logits are not finite included; of ``n_queries``, too, nothing is known: they are -1.

    Raises
    ------
    FeaturePathsError
        Before anything is yielded, if perturbations are greater than `eps`: how many, and which.
    """
    chosen = list(blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks)

    def pair(rows: slice) -> tuple[Tensor, Tensor]:
        """Return a block of clean and of adversarial images."""
        clean, adversarial = (padded_tensor(some[rows], device) for some in (images, made))
        return clean, torch.where((adversarial - clean).abs() <= ROUNDING, clean, adversarial)

    if eps is not None:
        _check_distances(map(pair, chosen), made, chosen, norm, eps)
    reference = misclassify(network, "ce")
    for rows in chosen:
        clean, adversarial = pair(rows)
        target = padded_tensor(labels[rows], device)
        records = judged(reference, clean, adversarial, target, norm, queries=UNKNOWN)
        yield rows, unpadded_arrays(records, rows)


def _check_distances(
    pairs: Iterable[tuple[Tensor, Tensor]], made: AdversarialImages, chosen: list[slice], norm: str, eps: float
) -> None:
    far, greatest = [], 0.0
    for rows, (clean, adversarial) in zip(chosen, pairs, strict=True):
        distances = distance(adversarial - clean, norm)[: rows.stop - rows.start].cpu().numpy()
        values = clean[0].numel()
        # by how much rounding of every value can lengthen a perturbation
        slack = made.rounding * {"linf": 1, "l2": values**0.5, "l1": values, "l0": 0}[norm]
        far.append(made.positions[rows][distances > eps * (1 + 1e-4) + slack])
        greatest = max(greatest, float(distances.max()))
    outside = np.concatenate([*far, np.zeros(0, int)])
    if len(outside):
        raise FeaturePathsError(
            f"{made.path}: the perturbation of {counted(outside)} is greater than eps ({norm}, {eps:g}), up to "
            f"{greatest:g}. Are they in the order of 'index', which is that of the data's split? Otherwise set the eps "
            "that they were made with, or none."
        )
