"""All attacks of an attacker who knows the defence on one block of images."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.objectives import detector_objective
from featurepaths.adaptive.worst_case import PerImageWorstCase, Target
from featurepaths.attacks.apgd import Budget, Search
from featurepaths.attacks.runner import Block, Records
from featurepaths.defense.recognition import Decision
from featurepaths.experiment.config.evaluation import AdaptiveSearch
from featurepaths.experiment.searches import searches
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


def blocks_together(device: torch.device) -> int:
    """Return the number of blocks that are attacked together: passes are fuller where few images still stand.

    It is 1 on a GPU, where the last bits of a result depend on the size of a pass: a block would depend on which one
    it is with.
    """
    return 2 if device.type == "cpu" else 1


def adaptive_records(
    block: Block,
    target: Target,
    oblivious: Mapping[str, np.ndarray],
    budget: Budget,
    search: AdaptiveSearch,
    report: Callable[[str], object] = lambda name: None,
) -> Records:
    """Attack the network, the defence and every detector, and record the worst case of each.

    Every pair of an objective and a loss that the number of classes allows is a search. With `skip_defeated` it attacks
    only images that still resist, and stops at the first success; the worst case needs no more. Otherwise the
    untargeted searches attack every image to their end. Further restarts, and the searches towards the `n_targets` most
    likely wrong classes (of the objectives `TARGETED`, with the first loss), always attack only what still resists.

    Parameters
    ----------
    oblivious
        By name, adversarial examples [N, C, H, W] of a split's images made without knowledge of the defence, read by
        slices of rows.
    search
        The keys of the configuration's section `adaptive`.
    report
        Called with the name of each detector and search that is finished.

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
      ``undefined``, whether anything was not finite in a search or example;
    - of the worst example ``worst/``: ``adversarial``, ``similarity``, ``network_prediction``, ``score`` and ``vote``.
    """
    worst_case = PerImageWorstCase(target, block)
    everything = np.arange(block.count)
    records = {
        "clean_score": worst_case.clean.score,
        "clean_label": worst_case.clean.prediction,
        "undefended/clean": worst_case.network,
        "defended/clean": worst_case.defended,
    }
    examples = {name: padded_tensor(images[block.rows], block.clean.device) for name, images in oblivious.items()}
    for name, adversarial in examples.items():
        decision = worst_case.update(adversarial, everything)
        records |= _recorded(name, block.count, everything, decision)
    for name, (score, scale) in target.detectors.items():
        result = target.search(block, budget, partial(detector_objective, score=score, scale=scale))
        worst_case.update_with_search(result, everything)
        candidates = [result.points["max-loss"].adversarial, *examples.values()]
        records |= _best_scored(target, name, block, candidates, worst_case.labels)
        report(name)
    for kind in searches(search, target.classes):
        everywhere = not (kind.rank or kind.restart or search.skip_defeated)
        attacked = everything if everywhere else worst_case.standing(kind)
        if len(attacked) == 0:
            records |= _recorded(str(kind), block.count, attacked)
        else:
            result, decision = worst_case.attack(kind, budget, attacked, stop_at_success=search.skip_defeated)
            records |= _recorded(str(kind), block.count, attacked, decision, result)
        report(str(kind))
    return records | {
        "undefended/adaptive": worst_case.network,
        "defended/adaptive": worst_case.defended,
        "evading_score": worst_case.evading,
        "undefined": worst_case.undefined,
        **{f"worst/{name}": values for name, values in worst_case.worst.items()},
    }


def _best_scored(target: Target, name: str, block: Block, examples: Sequence[Tensor], labels: np.ndarray) -> Records:
    """Return a detector's records [n]: clean score, and score and network prediction of each image's best example.

    Misclassified examples are better than others; among them, those of greater score.
    """
    scored = [target.detector_score(name, example[: block.count]) for example in examples]
    scores, predictions = (np.stack(values) for values in zip(*scored, strict=True))
    wrong = (predictions != labels) & np.isfinite(scores)
    best = np.lexsort((scores, wrong), axis=0)[-1], np.arange(block.count)
    return {
        f"detectors/{name}/score": scores[best],
        f"detectors/{name}/network_prediction": predictions[best],
        f"detectors/{name}/clean_score": target.detector_score(name, block.clean[: block.count])[0],
    }


def _recorded(
    name: str, count: int, rows: np.ndarray, decision: Decision | None = None, result: Search | None = None
) -> Records:
    """Return the records [count] of an attack on the images `rows` of a block; unknown values are those of `BLANK`."""
    values = {}
    if decision is not None:
        values = decision._asdict() | {"label": decision.prediction}
    if result is not None:
        (points,) = result.points.values()
        values |= {
            "loss": points.loss.cpu().numpy(),
            "first_fooled_step": result.first_fooled_step.cpu().numpy(),
            "vanished_steps": result.vanished_steps.cpu().numpy(),
            "n_queries": result.queries.cpu().numpy(),
        }
    records = {"attacked": np.isin(np.arange(count), rows)}
    for key, blank in BLANK.items():
        records[key] = np.full(count, blank)
        records[key][rows] = values.get(key, blank)
    return {f"attacks/{name}/{key}": record for key, record in records.items()}
