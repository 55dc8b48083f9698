"""Every attack of an attacker who knows the defence, over any number of images, in blocks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.objectives import OBJECTIVES, AdaptiveObjective, DetectorObjective, misclassify
from featurepaths.attacks.apgd import Search, apgd
from featurepaths.attacks.class_limits import possible_losses
from featurepaths.attacks.norms import random_start
from featurepaths.attacks.objective import Objective
from featurepaths.defense.module import Decision, FeaturePathDefense
from featurepaths.errors import FeaturePathsError, counted
from featurepaths.paths.outputs import ModelOutputs
from featurepaths.runtime.blocks import blocks, pad_block, padded_tensor

SEEDS_APART = 2**32
"""Restarts draw their random starts from seeds so far apart: a training's seed is smaller."""

BLANK = {
    "network_prediction": np.int32(-1),
    "label": np.int32(-1),
    "score": np.float64(np.nan),
    "loss": np.float32(np.nan),
    "first_fooled_step": np.int32(-1),
    "vanished_steps": np.int32(-1),
    "n_queries": np.int32(0),
}
"""The records of an attack on an image, where they are not known."""


@dataclass(frozen=True)
class Budget:
    """What every search may do: see `featurepaths.attacks.apgd.apgd` for `eps`, `norm`, `step` and `iterations`."""

    eps: float | Tensor
    norm: str
    step: float | Tensor | None
    iterations: int
    seed: int

    def times(self, factor: float) -> "Budget":
        """Return the same budget in a ball `factor` times as large, with steps in proportion."""
        return replace(self, eps=self.eps * factor, step=None if self.step is None else self.step * factor)

    def of(self, iterations: int) -> "Budget":
        """Return the same budget with other iterations."""
        return replace(self, iterations=iterations)


@dataclass(frozen=True)
class Target:
    """What is attacked: the exact defence judges, `search_model` (the same, or in bfloat16) is searched with.

    `detectors` holds, by name, a score of what the network shows and the unit it is measured in.
    """

    exact: FeaturePathDefense
    search_model: FeaturePathDefense
    detectors: Mapping[str, tuple[Callable[[ModelOutputs], Tensor], float]] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.exact.centroids[0])

    def attacker(self, objective: str, loss: str, targets: Tensor | None = None) -> tuple[Objective, Objective | None]:
        """Return the objective of a goal of `OBJECTIVES` or of ``misclassify``, and its judge if it needs one."""
        function = misclassify if objective == "misclassify" else OBJECTIVES[objective]
        made = [AdaptiveObjective(defense, function, loss, targets) for defense in (self.search_model, self.exact)]
        return made[0], None if self.search_model is self.exact else made[1]

    def detector_attacker(self, name: str) -> tuple[Objective, Objective | None]:
        """Return the objective against a detector alone, and its judge if it needs one."""
        made = [DetectorObjective(each.look, *self.detectors[name]) for each in (self.search_model, self.exact)]
        return made[0], None if self.search_model is self.exact else made[1]

    def detector_score(self, name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the exact score of a detector, float64 [N], and the network's labels [N].

        What the network or the detector gives no finite answer to scores minus infinity.
        """
        with torch.no_grad():
            seen, answered = self.exact.look(images)
            score = self.detectors[name][0](seen).double()
        score = torch.where(answered & score.isfinite(), score, -torch.inf)
        return score.cpu().numpy(), seen.logits.argmax(dim=1).cpu().numpy()


@dataclass(frozen=True)
class Block:
    """Clean images [64, C, H, W], labels [64] and rows in the data set [64]; the first `count` are there by right.

    Fewer, such as survivors, are filled up to fewer: how many depends on nothing outside of the block.
    """

    clean: Tensor
    labels: Tensor
    indices: np.ndarray
    count: int

    @classmethod
    def of(
        cls, images: np.ndarray, labels: np.ndarray, indices: np.ndarray, device: torch.device | str = "cpu"
    ) -> "Block":
        """Return the block of up to 64 uint8 images, filled up with copies of the last one."""
        return cls(padded_tensor(images, device), padded_tensor(labels, device), pad_block(indices), len(labels))

    def take(self, rows: np.ndarray) -> "Block":
        """Return the block of some of its images, filled up again."""
        filled = pad_block(rows)
        return Block(self.clean[filled], self.labels[filled], self.indices[filled], len(rows))


class PerImageWorstCase:
    """Which images of a block are still answered correctly, and the worst that was found for each.

    `network` and `defended` [n] say whether the network alone, and the whole defence, have resisted every example met
    so far; `evading` [n] is the best score of an example that the network gets wrong (minus infinity: there is none),
    `worst` [n, C, H, W] the first example that the defence gets wrong, or else the last one that it met. An example of
    which the network shows anything that is not finite is none: the clean image takes its place, and it is `undefined`
    [n].
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

    def update(self, examples: Tensor, rows: np.ndarray) -> Decision:
        """Let the defence answer examples [64, ...] of the images `rows` of the block, and return what it says."""
        with torch.no_grad():
            seen, answered = self.defense.look(examples)
            if not answered.all():
                self.undefined[rows] |= ~answered[: len(rows)].cpu().numpy()
                clean = self.block.clean[pad_block(rows)]
                examples = torch.where(answered.view(-1, *[1] * (clean.dim() - 1)), examples, clean)
                seen, answered = self.defense.look(examples)
                if not answered.all():
                    lost = self.block.indices[rows][~answered[: len(rows)].cpu().numpy()]
                    raise FeaturePathsError(
                        f"The network's logits or features are not finite for {counted(lost)} of the data set, without "
                        "an attack. Leave these images out of the data, or correct the network."
                    )
            decision = self.defense.decide(seen)
        decision = Decision(*(values[: len(rows)] for values in decision))
        labels = self.labels[rows]
        found = examples[: len(rows)].cpu().numpy()
        standing = self.defended[rows]
        self.worst[rows[standing]] = found[standing]
        network, defended = self.network.copy(), self.defended.copy()
        network[rows] &= decision.network_predictions == labels
        defended[rows] &= decision.labels == labels
        self.network, self.defended = network, defended
        wrong = decision.network_predictions != labels
        self.evading[rows[wrong]] = np.maximum(self.evading[rows[wrong]], decision.score[wrong])
        return decision

    def meet_found(self, found: Search, rows: np.ndarray) -> Decision:
        """Do so with what a search for examples of the images `rows` found."""
        self.undefined[rows] |= found.undefined[: len(rows)].cpu().numpy()
        return self.update(found.points["max-loss"].adversarial, rows)


def search(objectives: tuple[Objective, Objective | None], block: Block, budget: Budget, restart: int = 0) -> Search:
    """Run AutoPGD on a block; the example of greatest loss among those that fool is what counts."""
    objective, reference = objectives
    start = random_start(block.clean, block.indices, budget.eps, budget.norm, budget.seed + restart * SEEDS_APART)
    return apgd(
        objective, block.clean, block.labels, start, eps=budget.eps, norm=budget.norm, step=budget.step,
        iterations=budget.iterations, stopping_rules=["max-loss"], reference=reference,
    )  # fmt: skip


def cascade(
    target: Target, standing: PerImageWorstCase, objectives: Sequence[tuple[str, str]], budget: Budget, restart: int = 0
) -> None:
    """Attack what still stands with one goal and loss after the other; `misclassify` what stands of the network."""
    for objective, loss in objectives:
        rows = np.flatnonzero(standing.network if objective == "misclassify" else standing.defended)
        if len(rows) > 0:
            found = search(target.attacker(objective, loss), standing.block.take(rows), budget, restart)
            standing.meet_found(found, rows)


def adaptive_blocks(
    target: Target,
    images: object,
    labels: np.ndarray,
    indices: np.ndarray,
    oblivious: Mapping[str, object],
    rows_of_blocks: Iterable[slice] | None = None,
    *,
    objectives: Sequence[str],
    losses: Sequence[str],
    targets: int,
    restarts: int,
    budget: Budget,
    skip_defeated: bool = False,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """Attack the network, the defence and every detector, each with itself as the target, and count the worst.

    The untargeted searches attack every image, unless `skip_defeated` is set. Further restarts and the `n_targets` most
    likely wrong classes attack only what still stands: they cannot change the worst case of the others.

    Parameters
    ----------
    images, labels, indices
        uint8 images [N, H, W, C], read by slices of rows; their labels [N] and their rows in the data set [N].
    oblivious
        By name, adversarial examples [N, C, H, W] of the same images made without knowledge of the defence.
    rows_of_blocks
        Which blocks of them to attack; all by default.
    objectives, losses
        Names of `OBJECTIVES`, and ``ce`` or ``dlr``: every pair is a search, where there are enough classes for it.

    Yields
    ------
    The rows of each block and its records [n]. Of every attack ``attacks/<attack>/``: ``attacked``, ``network_prediction``,
    ``label``, ``score``, ``loss``, ``first_fooled_step``, ``vanished_steps`` and ``n_queries``, where ``<attack>`` is the
    name in `oblivious`, ``<objective>.<loss>``, or that with ``.restart<r>`` or ``.target<k>``. Of every detector
    ``detectors/<name>/``: ``clean_score``, and ``score`` and ``network_prediction`` of its best example (`_best_scored`), by
    the attack on itself or an oblivious one. Then, of
    ``undefended`` and ``defended``, ``.../clean`` and ``.../adaptive``: whether the answer is correct, the latter
    whatever the attack; ``clean_score`` and ``clean_label``; ``evading_score``, the best score of any example that the
    network gets wrong; ``worst/adversarial``; ``undefined``, whether anything was not finite in any search or example.
    """
    for rows in blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks:
        block = Block.of(images[rows], labels[rows], indices[rows], device)
        standing = PerImageWorstCase(target.exact, block)
        everything = np.arange(block.count)
        records: dict[str, np.ndarray] = {
            "clean_score": standing.clean.score,
            "clean_label": standing.clean.labels,
            "undefended/clean": standing.network,
            "defended/clean": standing.defended,
        }
        known = {name: padded_tensor(examples[rows], device) for name, examples in oblivious.items()}
        for name, examples in known.items():
            decision = standing.update(examples, everything)
            records |= _recorded(f"attacks/{name}", block.count, everything, decision)
        for name in target.detectors:
            found = search(target.detector_attacker(name), block, budget)
            examples = [found.points["max-loss"].adversarial, *known.values()]
            standing.meet_found(found, everything)
            score, network_prediction = _best_scored(target, name, examples, standing.labels)
            records[f"detectors/{name}/score"] = score
            records[f"detectors/{name}/network_prediction"] = network_prediction
            records[f"detectors/{name}/clean_score"] = target.detector_score(name, block.clean)[0][: block.count]
        for name, objective, loss, rank, restart in _searches(objectives, losses, targets, restarts, target.classes):
            of_the_network = objective == "misclassify"
            left = np.flatnonzero(standing.network if of_the_network else standing.defended)
            chosen = left if rank or restart or skip_defeated else everything
            if len(chosen) == 0:
                records |= _recorded(f"attacks/{name}", block.count, chosen)
                continue
            part = block.take(chosen)
            classes = _likely_classes(target.exact, part, rank) if rank else None
            found = search(target.attacker(objective, loss, classes), part, budget, restart)
            decision = standing.meet_found(found, chosen)
            records |= _recorded(f"attacks/{name}", block.count, chosen, decision, found)
        records |= {
            "undefended/adaptive": standing.network,
            "defended/adaptive": standing.defended,
            "evading_score": standing.evading,
            "worst/adversarial": standing.worst,
            "undefined": standing.undefined,
        }
        yield rows, records


def _best_scored(
    target: Target, name: str, examples: Sequence[Tensor], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a detector's score [n] of each image's best example, and the network's label of it [n].

    An example that the network gets wrong is better than one that it does not; of those the greater score is.
    """
    count = len(labels)
    scores, network_predictions = np.stack([target.detector_score(name, each) for each in examples], axis=1)
    scores, network_predictions = scores[:, :count], network_predictions[:, :count].astype(np.int64)
    wrong = (network_predictions != labels) & np.isfinite(scores)
    best = np.lexsort((scores, wrong), axis=0)[-1], np.arange(count)
    return scores[best], network_predictions[best]


def _searches(
    objectives: Sequence[str], losses: Sequence[str], targets: int, restarts: int, classes: int
) -> Iterator[tuple[str, str, str, int, int]]:
    """Yield name, objective, loss, rank of the class that is aimed at (0: any) and number of the restart of every search.

    What the number of classes does not allow is left out: see `featurepaths.attacks.class_limits`.
    """
    pairs, targeted = (
        [
            (objective, loss)
            for objective in ("misclassify", *objectives)
            for loss in possible_losses(losses, classes, targeted=aims)
        ]
        for aims in (False, True)
    )
    for objective, loss in pairs:
        yield f"{objective}.{loss}", objective, loss, 0, 0
    for restart in range(1, restarts):
        for objective, loss in pairs:
            yield f"{objective}.{loss}.restart{restart}", objective, loss, 0, restart
    for rank in range(1, min(targets, classes - 1) + 1):
        for objective, loss in targeted:
            yield f"{objective}.{loss}.target{rank}", objective, loss, rank, 0


def _likely_classes(defense: FeaturePathDefense, block: Block, rank: int) -> Tensor:
    """Return the wrong class that the network finds most likely for each clean image, or the second such, ...: [64]."""
    with torch.no_grad():
        logits = defense.logits(block.clean)
    wrong = logits.scatter(1, block.labels.unsqueeze(1), -torch.inf)
    return wrong.argsort(dim=1, descending=True, stable=True)[:, rank - 1]


def _recorded(
    name: str, count: int, rows: np.ndarray, decision: Decision | None = None, found: Search | None = None
) -> dict[str, np.ndarray]:
    """Return the records [count] of an attack on the images `rows` of a block; what is not known stays blank."""
    known: dict[str, np.ndarray] = {}
    if decision is not None:
        known = {"network_prediction": decision.network_predictions, "label": decision.labels, "score": decision.score}
    if found is not None:
        known |= {
            "loss": found.points["max-loss"].loss.cpu().numpy()[: len(rows)],
            "first_fooled_step": found.first_fooled_step.cpu().numpy()[: len(rows)],
            "vanished_steps": found.vanished_steps.cpu().numpy()[: len(rows)],
            "n_queries": np.full(len(rows), found.queries),
        }
    records = {f"{name}/attacked": np.isin(np.arange(count), rows)}
    for key, blank in BLANK.items():
        values = np.full(count, blank)
        if key in known:
            values[rows] = known[key]
        records[f"{name}/{key}"] = values
    return records
