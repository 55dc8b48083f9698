"""Searches for adversarial examples against a frozen defence and its detectors, and the worst case of each image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.objectives import adaptive_objective, likely_classes
from featurepaths.attacks.apgd import Budget, Points, Search, apgd
from featurepaths.attacks.norms import random_start
from featurepaths.attacks.objective import Objective
from featurepaths.attacks.runner import Block
from featurepaths.defense.frozen import FrozenDefense
from featurepaths.defense.recognition import Decision
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.experiment.searches import NETWORK_OBJECTIVE, SearchKind
from featurepaths.paths.outputs import ModelOutputs
from featurepaths.runtime.blocks import INDEPENDENT, pad_block, positions_of_passes

SEEDS_APART = 2**32
"""Distance of the seeds of restarts: greater than any training's seed."""


@dataclass(frozen=True)
class Target:
    """The defence under attack: `search_model`, which searches follow, and `reference_model`, which decides.

    They are the same in float32; in bfloat16 the search model is a copy. `detectors` has, by name, a score of model
    outputs and its unit.
    """

    reference_model: FrozenDefense
    search_model: FrozenDefense
    detectors: Mapping[str, tuple[Callable[[ModelOutputs], Tensor], float]] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.reference_model.centroids[0])

    def search(
        self,
        block: Block,
        budget: Budget,
        objective: Callable[..., Objective],
        *,
        targets: Tensor | None = None,
        restart: int = 0,
        stop_at_success: bool = False,
    ) -> Search:
        """Run AutoPGD on a block, and return the search of its `count` images.

        Parameters
        ----------
        objective
            Returns the objective against a model and, if there are any, towards target classes.
        targets
            The target class of each image, [count].
        stop_at_success
            Whether the search of an image ends with the first example that fools, the point of ``first-success``.
            Otherwise the point of ``max-loss`` is kept, the example of greatest loss among those that fool.
        """
        rule = "first-success" if stop_at_success else "max-loss"
        seed = budget.seed + restart * SEEDS_APART

        def of_pass(part: Block, positions: np.ndarray) -> Search:
            aims = None if targets is None else targets[pad_block(positions, INDEPENDENT)]

            def objectives(rows: np.ndarray | slice = slice(None)) -> tuple[Objective, Objective | None]:
                aim = {} if aims is None else {"targets": aims[rows]}
                search, reference = objective(self.search_model, **aim), objective(self.reference_model, **aim)
                return search, None if self.search_model is self.reference_model else reference

            start = random_start(part.clean, part.indices, budget.eps, budget.norm, seed)
            search, reference = objectives()
            return apgd(
                search, part.clean, part.labels, start, budget, stopping_rules=[rule], reference=reference,
                narrow=objectives if stop_at_success else None,
            )  # fmt: skip

        parts = block.passes()
        searches = map(of_pass, parts, positions_of_passes(block.count))
        return _joined(list(searches), [part.count for part in parts])

    def detector_score(self, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return a detector's score by the reference model, float64 [N], and the network's predictions [N].

        The score is minus infinity if model outputs or the detector's score are not finite.
        """
        scores, predictions = [], []
        for positions in positions_of_passes(len(images)):
            with torch.no_grad():
                outputs, finite = self.reference_model.outputs_and_finite(images[pad_block(positions, INDEPENDENT)])
                score = self.detectors[name][0](outputs).double()
            score = torch.where(finite & score.isfinite(), score, -torch.inf)
            scores.append(score[: len(positions)].cpu().numpy())
            predictions.append(outputs.logits.argmax(dim=1)[: len(positions)].cpu().numpy())
        return np.concatenate(scores), np.concatenate(predictions)


class PerImageWorstCase:
    """The worst case of a block: whether each image is still predicted correctly, and its worst example.

    `network` and `defended` [n] are true while the network alone, and the whole defence, resist every example.
    `evading` [n] is the best score of a misclassified example, or minus infinity. `worst` has the first example that
    defeats the defence, or else the latest one: ``adversarial`` [n, C, H, W], its ``similarity`` to every class in
    every layer [n, L, classes], and its ``network_prediction``, ``score`` and ``vote`` [n]. If the model outputs of an
    example are not finite, the clean image replaces it, and the image is `undefined` [n]. `clean` is the decision on
    the clean images.
    """

    def __init__(self, target: Target, block: Block):
        self.target, self.block = target, block
        count = block.count
        self.labels = block.labels[:count].cpu().numpy()
        self.network = self.defended = np.ones(count, bool)
        self.evading = np.full(count, -np.inf)
        self.undefined = np.zeros(count, bool)
        self.likely: dict[str, Tensor] = {}  # the wrong classes of the clean images in their order, by objective
        self.worst: dict[str, np.ndarray] = {}
        self.clean = self.update(block.clean, np.arange(count))
        self.evading = np.full(count, -np.inf)  # clean images are no examples

    def standing(self, kind: SearchKind) -> np.ndarray:
        """Return the rows of the images that a search can still win.

        They are those that the network resists for `misclassify`, and those that the defence resists for the others;
        for a search for evasion, those that fell, but that no example of which evades detection.
        """
        if kind.evasion:
            flagged = self.evading < self.target.reference_model.calibration.threshold
            return np.flatnonzero(flagged & ~self.defended)
        return np.flatnonzero(self.network if kind.objective == NETWORK_OBJECTIVE else self.defended)

    def update(self, examples: Tensor, rows: np.ndarray) -> Decision:
        """Take examples [n, ...] of the images `rows` [n] into account, and return the defence's decision on them."""
        passes = positions_of_passes(len(rows))
        decisions = [self._update(examples[pad_block(part, INDEPENDENT)], rows[part]) for part in passes]
        return Decision(*map(np.concatenate, zip(*decisions, strict=True)))

    def _update(self, examples: Tensor, rows: np.ndarray) -> Decision:
        """Do so in one pass, of padded examples."""
        defense = self.target.reference_model
        with torch.no_grad():
            outputs, finite = defense.outputs_and_finite(examples)
            if not finite.all():
                self.undefined[rows] |= ~finite[: len(rows)].cpu().numpy()
                clean = self.block.clean[pad_block(rows, INDEPENDENT)]
                examples = torch.where(finite.view(-1, *[1] * (clean.dim() - 1)), examples, clean)
                outputs, finite = defense.outputs_and_finite(examples)
                if not finite.all():
                    images = self.block.indices[rows][~finite[: len(rows)].cpu().numpy()]
                    raise FeaturePathsError(
                        f"The network's logits or features are not finite for {counted(images)} of the data set "
                        "without an attack. Remove these images from the data, or correct the network."
                    )
            decision = Decision(*(values[: len(rows)] for values in defense.decide(outputs)))
        labels, standing = self.labels[rows], self.defended[rows]
        worst = {name: getattr(decision, name) for name in ("network_prediction", "score", "vote")}
        for name, tensor in (("adversarial", examples), ("similarity", outputs.similarity)):
            worst[name] = tensor[: len(rows)].cpu().numpy()
        for name, values in worst.items():
            stored = self.worst.setdefault(name, np.empty((self.block.count, *values.shape[1:]), values.dtype))
            stored[rows[standing]] = values[standing]
        network, defended = self.network.copy(), self.defended.copy()
        network[rows] &= decision.network_prediction == labels
        defended[rows] &= decision.prediction == labels
        self.network, self.defended = network, defended
        wrong = decision.network_prediction != labels
        self.evading[rows[wrong]] = np.maximum(self.evading[rows[wrong]], decision.score[wrong])
        return decision

    def update_with_search(self, result: Search, rows: np.ndarray) -> Decision:
        """Take the result of a search for examples of the images `rows` into account, and return the decision."""
        self.undefined[rows] |= result.undefined.cpu().numpy()
        (points,) = result.points.values()
        return self.update(points.adversarial, rows)

    def resist(self, network: np.ndarray, defended: np.ndarray) -> None:
        """Count images [n] as fallen that other attacks defeated: those where `network` or `defended` is false."""
        self.network, self.defended = self.network & network, self.defended & defended

    def attack(
        self, kind: SearchKind, budget: Budget, rows: np.ndarray, *, stop_at_success: bool = True
    ) -> tuple[Search, Decision]:
        """Attack the images `rows`, and take the examples into account; return the search and the decision on them."""
        part, targets = self.block.take(rows), None
        if kind.rank:
            if kind.objective not in self.likely:
                self.likely[kind.objective] = self._likely_classes(kind.objective)
            targets = self.likely[kind.objective][rows, kind.rank - 1]
        against = partial(adaptive_objective, name=kind.objective, loss=kind.loss, evasion=kind.evasion)
        options = {"targets": targets, "restart": kind.restart, "stop_at_success": stop_at_success}
        result = self.target.search(part, budget, against, **options)
        return result, self.update_with_search(result, rows)

    def _likely_classes(self, objective: str) -> Tensor:
        model, passes = self.target.reference_model, self.block.passes()
        return torch.cat([likely_classes(model, part.clean, part.labels, objective)[: part.count] for part in passes])

    def cascade(self, kinds: Iterable[SearchKind], budget: Budget) -> None:
        """Run one search after the other, each on the images that still resist."""
        for kind in kinds:
            if len(rows := self.standing(kind)):
                self.attack(kind, budget, rows)


def _joined(searches: Sequence[Search], counts: Sequence[int]) -> Search:
    """Return searches with one stopping rule as one, by the number of images of each; what pads them is left out."""

    def joined(tensors: Iterable[Tensor]) -> Tensor:
        return torch.cat([tensor[:count] for tensor, count in zip(tensors, counts, strict=True)])

    (rule,) = searches[0].points
    of_points = (joined(getattr(search.points[rule], name) for search in searches) for name in Points._fields[:3])
    names = ("first_fooled_step", "vanished_steps", "undefined", "queries")
    return Search({rule: Points(*of_points)}, *(joined(getattr(search, name) for search in searches) for name in names))
