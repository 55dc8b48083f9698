"""The worst case over all attacks, image by image."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.objectives import NETWORK_OBJECTIVE
from featurepaths.adaptive.target import Block, Target, search
from featurepaths.attacks.apgd import Search
from featurepaths.attacks.budget import Budget
from featurepaths.defense.module import FeaturePathDefense
from featurepaths.defense.recognition import Decision
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.runtime.blocks import pad_block


class PerImageWorstCase:
    """Which images of a block are still predicted correctly, and the worst example of each.

    `network` and `defended` [n] are true while the network alone, and the whole defence, resist every example.
    `evading` [n] is the best score of a misclassified example, or minus infinity. `worst` [n, C, H, W] is the first
    example that defeats the defence, or else the latest one. If the model outputs of an example are not finite, the
    clean image replaces it, and the image is `undefined` [n].
    """

    def __init__(self, defense: FeaturePathDefense, block: Block):
        self.defense, self.block = defense, block
        count = block.count
        self.labels = block.labels[:count].cpu().numpy()
        self.network = self.defended = np.ones(count, bool)
        self.evading = np.full(count, -np.inf)
        self.undefined = np.zeros(count, bool)
        self.worst = block.clean[:count].cpu().numpy().copy()  # it is written to
        self.clean = self.update(block.clean, np.arange(count))
        self.evading = np.full(count, -np.inf)  # clean images are no examples

    def standing(self, objective: str) -> np.ndarray:
        """Return the rows of the images that resist so far: the network's for `misclassify`, else the defence's."""
        return np.flatnonzero(self.network if objective == NETWORK_OBJECTIVE else self.defended)

    def update(self, examples: Tensor, rows: np.ndarray) -> Decision:
        """Take examples [64, ...] of the images `rows` into account, and return the defence's decision on them."""
        with torch.no_grad():
            outputs, finite = self.defense.outputs_and_finite(examples)
            if not finite.all():
                self.undefined[rows] |= ~finite[: len(rows)].cpu().numpy()
                clean = self.block.clean[pad_block(rows)]
                examples = torch.where(finite.view(-1, *[1] * (clean.dim() - 1)), examples, clean)
                outputs, finite = self.defense.outputs_and_finite(examples)
                if not finite.all():
                    lost = self.block.indices[rows][~finite[: len(rows)].cpu().numpy()]
                    raise FeaturePathsError(
                        f"The network's logits or features are not finite for {counted(lost)} of the data set, without "
                        "an attack. Remove these images from the data, or correct the network."
                    )
            decision = self.defense.decide(outputs)
        decision = Decision(*(values[: len(rows)] for values in decision))
        labels, standing = self.labels[rows], self.defended[rows]
        self.worst[rows[standing]] = examples[: len(rows)].cpu().numpy()[standing]
        network, defended = self.network.copy(), self.defended.copy()
        network[rows] &= decision.network_prediction == labels
        defended[rows] &= decision.prediction == labels
        self.network, self.defended = network, defended
        wrong = decision.network_prediction != labels
        self.evading[rows[wrong]] = np.maximum(self.evading[rows[wrong]], decision.score[wrong])
        return decision

    def update_with_search(self, result: Search, rows: np.ndarray) -> Decision:
        """Take the result of a search for examples of the images `rows` into account, and return the decision."""
        self.undefined[rows] |= result.undefined[: len(rows)].cpu().numpy()
        return self.update(result.points["max-loss"].adversarial, rows)


def cascade(
    target: Target, block: Block, objectives: Sequence[tuple[str, str]], budget: Budget, restart: int = 0,
    worst_case: PerImageWorstCase | None = None,
) -> PerImageWorstCase:  # fmt: skip
    """Attack with one objective and loss after the other what resists, from the start or after `worst_case`."""
    worst_case = worst_case or PerImageWorstCase(target.reference_model, block)
    for objective, loss in objectives:
        rows = worst_case.standing(objective)
        if len(rows) > 0:
            result = search(target.objective(objective, loss), block.take(rows), budget, restart)
            worst_case.update_with_search(result, rows)
    return worst_case
