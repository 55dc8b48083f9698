"""Precomputed adversarial images, evaluated as an attack."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from featurepaths.attacks.norms import size
from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.precomputed.files import ROUNDING, AdversarialImages
from featurepaths.attacks.runner import Records, records_of_examples, run_blocks
from featurepaths.data.splits import Split
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.runtime.blocks import blocks, padded_tensor

UNKNOWN = -1


def precomputed_blocks(
    network: nn.Module,
    images: Split | np.ndarray,
    labels: np.ndarray,
    indices: np.ndarray,
    rows_of_blocks: Iterable[slice] | None = None,
    *,
    precomputed: AdversarialImages,
    norm: str,
    eps: float | None,
    device: torch.device | str = "cpu",
) -> Records:
    """Evaluate precomputed adversarial images with the network, as if an attack had returned them.

    Values within rounding of the clean image's count as unchanged.

    Parameters
    ----------
    network
        Returns logits.
    images, labels, indices
        The clean images that they were made from, uint8 [N, H, W, C], read by slices of rows; their labels [N]; and
        their rows in the data set [N], which have no influence.
    rows_of_blocks
        The blocks to evaluate; all by default.
    precomputed
        The adversarial images, in the same order.
    norm, eps
        The norm of the perturbations and its bound, apart from rounding; None: no bound.

    Yields
    ------
    The rows of each block and its records [n], by name, as `featurepaths.attacks.runner.records_of_examples` returns
    them. ``n_queries`` is unknown, -1.

    Raises
    ------
    FeaturePathsError
        Before anything is yielded, if perturbations are greater than `eps`: their number and images.
    """
    rows_of_blocks = list(blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks)

    def examples(clean: Tensor, rows: slice) -> Tensor:
        """Return the adversarial images of a block, padded."""
        adversarial = padded_tensor(precomputed[rows], device)
        return torch.where((adversarial - clean).abs() <= ROUNDING, clean, adversarial)

    if eps is not None:
        distances = [np.zeros(0, np.float32)]
        for rows in rows_of_blocks:
            clean = padded_tensor(images[rows], device)
            distances.append(size(examples(clean, rows) - clean, norm)[: rows.stop - rows.start].cpu().numpy())
        positions = np.concatenate([precomputed.positions[rows] for rows in [slice(0, 0), *rows_of_blocks]])
        _check_distances(np.concatenate(distances), positions, precomputed, norm, eps)
    reference = misclassification(network, "ce")

    def evaluate(clean: Tensor, targets: Tensor, rows: slice) -> dict[str, Tensor]:
        return records_of_examples(reference, clean, examples(clean, rows), targets, norm, UNKNOWN)

    yield from run_blocks(evaluate, images, labels, rows_of_blocks, device)


def _check_distances(
    distances: np.ndarray, positions: np.ndarray, precomputed: AdversarialImages, norm: str, eps: float
) -> None:
    """Raise FeaturePathsError if distances [M] of the images at `positions` [M] exceed `eps` by more than rounding."""
    values = int(np.prod(precomputed.array.shape[1:]))
    # by how much rounding of every value can lengthen a perturbation
    slack = precomputed.rounding * {"linf": 1, "l2": values**0.5, "l1": values, "l0": 0}[norm]
    far = distances > eps * (1 + 1e-4) + slack
    if far.any():
        raise FeaturePathsError(
            f"{precomputed.path}: the perturbation of {counted(positions[far])} is greater than eps ({norm}, {eps:g}), "
            f"up to {distances.max():g}. Check that 'index' holds the position of each clean image in its split; "
            "otherwise set the eps of the attack that made them, or none."
        )
