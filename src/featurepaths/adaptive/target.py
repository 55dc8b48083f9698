"""The target of adaptive attacks: a frozen defence, detectors, and a block of images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.objectives import AdaptiveObjective, DetectorObjective
from featurepaths.attacks.apgd import Search, apgd
from featurepaths.attacks.budget import Budget
from featurepaths.attacks.norms import random_start
from featurepaths.attacks.objective import Objective
from featurepaths.defense.module import FeaturePathDefense
from featurepaths.paths.outputs import ModelOutputs
from featurepaths.runtime.blocks import pad_block, padded_tensor

SEEDS_APART = 2**32
"""Distance of the seeds of restarts: greater than any training's seed."""


@dataclass(frozen=True)
class Block:
    """Clean images [64, C, H, W], labels [64] and rows in the data set [64]; the rows after the first `count` pad it.

    Fewer images, such as survivors, are padded to a smaller size, which depends on nothing outside of the block.
    """

    clean: Tensor
    labels: Tensor
    indices: np.ndarray
    count: int

    @classmethod
    def of(
        cls, images: np.ndarray, labels: np.ndarray, indices: np.ndarray, device: torch.device | str = "cpu"
    ) -> "Block":
        """Return the block of up to 64 uint8 images, padded with copies of the last one."""
        return cls(padded_tensor(images, device), padded_tensor(labels, device), pad_block(indices), len(labels))

    def take(self, rows: np.ndarray) -> "Block":
        """Return the block of some of its images, padded again."""
        padded = pad_block(rows)
        return Block(self.clean[padded], self.labels[padded], self.indices[padded], len(rows))


@dataclass(frozen=True)
class Target:
    """The defence under attack: `search_model`, which searches follow, and `reference_model`, which decides.

    They are the same in float32; in bfloat16 the search model is a copy. `detectors` has, by name, a score of model
    outputs and its unit.
    """

    reference_model: FeaturePathDefense
    search_model: FeaturePathDefense
    detectors: Mapping[str, tuple[Callable[[ModelOutputs], Tensor], float]] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.reference_model.centroids[0])

    def objective(self, objective: str, loss: str, targets: Tensor | None = None) -> tuple[Objective, Objective | None]:
        """Return an objective of `ALL_OBJECTIVES` for the search, and the reference, None if it is the same."""
        return self._with_reference(lambda defense: AdaptiveObjective(defense, objective, loss, targets))

    def detector_objective(self, name: str) -> tuple[Objective, Objective | None]:
        """Return the objective against a detector alone for the search, and the reference, None if it is the same."""
        return self._with_reference(lambda defense: DetectorObjective(defense, *self.detectors[name]))

    def detector_score(self, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return a detector's score by the reference model, float64 [N], and the network's predictions [N].

        The score is minus infinity if model outputs or the detector's score are not finite.
        """
        with torch.no_grad():
            outputs, finite = self.reference_model.outputs_and_finite(images)
            score = self.detectors[name][0](outputs).double()
        score = torch.where(finite & score.isfinite(), score, -torch.inf)
        return score.cpu().numpy(), outputs.logits.argmax(dim=1).cpu().numpy()

    def _with_reference(self, build: Callable[[FeaturePathDefense], Objective]) -> tuple[Objective, Objective | None]:
        same = self.search_model is self.reference_model
        return build(self.search_model), None if same else build(self.reference_model)


def search(objectives: tuple[Objective, Objective | None], block: Block, budget: Budget, restart: int = 0) -> Search:
    """Run AutoPGD on a block and keep the example of greatest loss among those that fool."""
    objective, reference = objectives
    start = random_start(block.clean, block.indices, budget.eps, budget.norm, budget.seed + restart * SEEDS_APART)
    return apgd(
        objective, block.clean, block.labels, start, eps=budget.eps, norm=budget.norm, step=budget.step,
        iterations=budget.iterations, stopping_rules=["max-loss"], reference=reference,
    )  # fmt: skip
