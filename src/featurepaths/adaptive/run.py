"""All attacks of an attacker who knows the defence on one block of images."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.objectives import NETWORK_OBJECTIVE, adaptive_objective, detector_objective
from featurepaths.adaptive.worst_case import PerImageWorstCase, Target
from featurepaths.attacks.apgd import Budget, Search
from featurepaths.attacks.class_limits import possible_losses
from featurepaths.attacks.losses import column
from featurepaths.attacks.runner import Block, Records
from featurepaths.defense.recognition import Decision
from featurepaths.experiment.config.evaluation import AdaptiveSearch
from featurepaths.runtime.blocks import padded_tensor

BLANK = {
    "network_prediction": np.int32(-1),
    "label": np.int32(-1),
    "score": np.float64(np.nan),
    "loss": np.float32(np.nan),
    "first_fooled_step": np.int32(-1),
    "vanished_steps": np.int32(-1),
    "n_queries": np.int32(0),
}
"""The records of an attack for images that it did not attack, and unknown ones."""


def adaptive_records(
    block: Block,
    target: Target,
    oblivious: Mapping[str, np.ndarray],
    budget: Budget,
    search: AdaptiveSearch,
) -> Records:
    """Attack the network, the defence and every detector, and record the worst case of each.

    Every pair of an objective and a loss that the number of classes allows is a search. The untargeted searches attack
    every image, unless `skip_defeated` is set. Further restarts and the `n_targets` most likely wrong classes attack
    only images that still resist: they cannot change the worst case of the others.

    Parameters
    ----------
    oblivious
        By name, adversarial examples [N, C, H, W] of a split's images made without knowledge of the defence, read by
        slices of rows.
    search
        The keys of the configuration's section `adaptive`.

    Returns
    -------
    The block's records [n]:

    - for every attack ``attacks/<attack>/``: ``attacked``, ``network_prediction``, ``label``, ``score``, ``loss``,
      ``first_fooled_step``, ``vanished_steps`` and ``n_queries``, where ``<attack>`` is the name in `oblivious`,
      ``<objective>.<loss>``, or that with ``.restart<r>`` or ``.target<k>``;
    - for every detector ``detectors/<name>/``: ``clean_score``, and ``score`` and ``network_prediction`` of its best
      example (`_best_scored`), by the attack on itself or an oblivious one;
    - for ``undefended`` and ``defended``, ``.../clean`` and ``.../adaptive``: whether the prediction is correct,
      without an attack and under every attack;
    - ``clean_score`` and ``clean_label``; ``evading_score``, the best score of a misclassified example;
      ``worst/adversarial``; ``undefined``, whether anything was not finite in a search or example.
    """
    worst_case = PerImageWorstCase(target, block)
    everything = np.arange(block.count)
    records = {
        "clean_score": worst_case.clean.score,
        "clean_label": worst_case.clean.prediction,
        "undefended/clean": worst_case.network,
        "defended/clean": worst_case.defended,
    }
    examples = {name: padded_tensor(each[block.rows], block.clean.device) for name, each in oblivious.items()}
    for name, adversarial in examples.items():
        decision = worst_case.update(adversarial, everything)
        records |= _recorded(name, block.count, everything, decision)
    for name, (score, scale) in target.detectors.items():
        result = target.search(block, budget, partial(detector_objective, score=score, scale=scale))
        worst_case.update_with_search(result, everything)
        candidates = [result.points["max-loss"].adversarial, *examples.values()]
        records |= _best_scored(target, name, block, candidates, worst_case.labels)
    for name, objective, loss, rank, restart in _searches(search, target.classes):
        attacked = worst_case.standing(objective) if rank or restart or search.skip_defeated else everything
        if len(attacked) == 0:
            records |= _recorded(name, block.count, attacked)
            continue
        part = block.take(attacked)
        targets = _likely_classes(target, part, rank) if rank else None
        against = partial(adaptive_objective, name=objective, loss=loss, targets=targets)
        result = target.search(part, budget, against, restart)
        decision = worst_case.update_with_search(result, attacked)
        records |= _recorded(name, block.count, attacked, decision, result)
    return records | {
        "undefended/adaptive": worst_case.network,
        "defended/adaptive": worst_case.defended,
        "evading_score": worst_case.evading,
        "worst/adversarial": worst_case.worst,
        "undefined": worst_case.undefined,
    }


def _best_scored(target: Target, name: str, block: Block, examples: Sequence[Tensor], labels: np.ndarray) -> Records:
    """Return a detector's records [n]: clean score, and score and network prediction of each image's best example.

    Misclassified examples are better than others; among them, those of greater score.
    """
    scores, predictions = np.stack([target.detector_score(name, each) for each in examples], axis=1)
    scores, predictions = scores[:, : block.count], predictions[:, : block.count].astype(np.int64)
    wrong = (predictions != labels) & np.isfinite(scores)
    best = np.lexsort((scores, wrong), axis=0)[-1], np.arange(block.count)
    return {
        f"detectors/{name}/score": scores[best],
        f"detectors/{name}/network_prediction": predictions[best],
        f"detectors/{name}/clean_score": target.detector_score(name, block.clean)[0][: block.count],
    }


def _searches(search: AdaptiveSearch, classes: int) -> Iterator[tuple[str, str, str, int, int]]:
    """Yield name, objective, loss, rank of the target class (0: none) and number of the restart of every search.

    Searches that the number of classes does not allow are left out: see `featurepaths.attacks.class_limits`.
    """
    runs = [("", 0, 0)]
    runs += [(f".restart{restart}", 0, restart) for restart in range(1, search.restarts)]
    runs += [(f".target{rank}", rank, 0) for rank in range(1, min(search.n_targets, classes - 1) + 1)]
    for suffix, rank, restart in runs:
        for objective in (NETWORK_OBJECTIVE, *search.objectives):
            for loss in possible_losses(search.losses, classes, targeted=rank > 0):
                yield f"{objective}.{loss}{suffix}", objective, loss, rank, restart


def _likely_classes(target: Target, block: Block, rank: int) -> Tensor:
    """Return the wrong class of this rank (1: the most likely) by the network's logits of each clean image, [64]."""
    with torch.no_grad():
        logits = target.reference_model.logits(block.clean)
    wrong = logits.scatter(1, column(block.labels), -torch.inf)
    return wrong.argsort(dim=1, descending=True, stable=True)[:, rank - 1]


def _recorded(
    name: str, count: int, rows: np.ndarray, decision: Decision | None = None, result: Search | None = None
) -> Records:
    """Return the records [count] of an attack on the images `rows` of a block; unknown values are those of `BLANK`."""
    values = {}
    if decision is not None:
        values = decision._asdict() | {"label": decision.prediction}
    if result is not None:
        values |= {
            "loss": result.points["max-loss"].loss.cpu().numpy()[: len(rows)],
            "first_fooled_step": result.first_fooled_step.cpu().numpy()[: len(rows)],
            "vanished_steps": result.vanished_steps.cpu().numpy()[: len(rows)],
            "n_queries": result.queries,
        }
    records = {"attacked": np.isin(np.arange(count), rows)}
    for key, blank in BLANK.items():
        records[key] = np.full(count, blank)
        records[key][rows] = values.get(key, blank)
    return {f"attacks/{name}/{key}": each for key, each in records.items()}
