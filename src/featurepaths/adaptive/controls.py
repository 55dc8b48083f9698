"""Controls: does a defence resist because it is robust, or because its gradients are masked?

After Athalye, Carlini and Wagner (ICML 2018) and Carlini et al., On evaluating adversarial robustness (2019): accuracy
has to fall to 0 as the ball grows, more search has to stop helping, and attacks without gradients must not defeat what
resists attacks with gradients.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.corruptions import corruptions
from featurepaths.adaptive.worst_case import PerImageWorstCase, Target
from featurepaths.attacks.apgd import Budget
from featurepaths.attacks.runner import Block, Records
from featurepaths.attacks.torchattacks.library import fit_windows, library, seeded_generators
from featurepaths.defense.frozen import FrozenDefense
from featurepaths.experiment.config.evaluation import AdaptiveSearch, Controls
from featurepaths.experiment.searches import budgets_of, searches_of_balls, searches_of_budgets
from featurepaths.runtime.blocks import padded_tensor
from featurepaths.statistics.worst_case import check_vanished, count_vanished

LEVELLED_OFF = 0.02
"""Share of the images that only the greatest budget may defeat."""
BUDGET = ("iterations", "restarts", "n_targets")
"""Keys of the budget that the control of the search increases."""
SIDES = ("undefended", "defended")
"""The network alone, and the whole defence."""


def control_records(
    block: Block,
    target: Target,
    suite: Mapping[str, np.ndarray],
    transferred: np.ndarray | None,
    budget: Budget,
    search: AdaptiveSearch,
    controls: Controls,
) -> Records:
    """Run the controls that need the network; parameters as in `featurepaths.adaptive.run.adaptive_records`.

    Parameters
    ----------
    suite
        Whether each image of the split resists the adaptive attacks, bool [N], by `SIDES`: larger balls and budgets
        attack only the images that these left standing.
    transferred
        Examples [N, C, H, W] of a split's images against another network's defence, if there are any.
    controls
        The keys of the configuration's section `adaptive.controls`.

    Returns
    -------
    The block's records [n], all boolean. ``eps/<i>/undefended`` and ``/defended``: whether the predictions are correct
    under all attacks in the balls up to the i-th; ``budget/<i>/...`` likewise; ``black_box/defended`` and
    ``transfer/defended``, if there are such examples; ``false_positives/<corruption>/<level>/flagged``,
    ``/undefended`` and ``/defended``, also for ``clean``: all false if model outputs are not finite. ``undefined``:
    whether model outputs or a gradient were not finite anywhere.
    """
    model, records, worst_cases = target.reference_model, {}, []
    in_suite = [suite[side][block.rows] for side in SIDES]

    def fresh() -> PerImageWorstCase:
        worst_cases.append(PerImageWorstCase(target, block))
        return worst_cases[-1]

    def resisting(name: str, worst_case: PerImageWorstCase) -> Records:
        return {f"{name}/undefended": worst_case.network, f"{name}/defended": worst_case.defended}

    growing = fresh()
    for number, (iterations, kinds) in enumerate(searches_of_budgets(search, controls, target.classes)):
        if iterations >= budget.iterations:  # already searched by the adaptive attacks
            growing.resist(*in_suite)
        growing.cascade(kinds, replace(budget, iterations=iterations))
        records |= resisting(f"budget/{number}", growing)
    in_ball, kinds = fresh(), searches_of_balls(search, target.classes)
    for number, multiple in enumerate(map(float, controls.eps_multiples)):
        if multiple >= 1:
            in_ball.resist(*in_suite)
        if multiple != 1:
            # in a ball of radius 0 nothing moves, so that one step suffices
            ball = budget.scaled(multiple) if multiple > 0 else replace(budget.scaled(multiple), iterations=1)
            in_ball.cascade(kinds, ball)
        records |= resisting(f"eps/{number}", in_ball)

    examples = {}
    if controls.n_queries:
        examples["black_box"] = _square(model, block, budget, controls.n_queries)
    if transferred is not None:
        examples["transfer"] = padded_tensor(transferred[block.rows], block.clean.device)
    for name, adversarial in examples.items():
        by_examples = fresh()
        by_examples.update(adversarial, np.arange(block.count))
        records[f"{name}/defended"] = by_examples.defended

    records["undefined"] = np.any([worst_case.undefined for worst_case in worst_cases], axis=0)
    labels = block.labels.cpu().numpy()
    changes = {("clean", "-"): lambda clean, _: clean, **corruptions(budget.smallest_eps, budget.norm, budget.seed)}
    for (name, level), change in changes.items():
        with torch.no_grad():
            outputs, finite = model.outputs_and_finite(change(block.clean, block.indices))
            decision = model.decide(outputs)
        finite = finite.cpu().numpy()
        records["undefined"] |= ~finite[: block.count]
        correct = (decision.network_prediction == labels, decision.prediction == labels)
        for key, values in zip(("flagged", *SIDES), (decision.flagged, *correct), strict=True):
            records[f"false_positives/{name}/{level}/{key}"] = (finite & values)[: block.count]
    return records


def summarise(
    records: Records,
    standing: np.ndarray,
    attacks: Sequence[Mapping[str, Any]],
    controls: Controls,
    eps: float,
    source: str | None,
) -> dict[str, Any]:
    """Return the counts of all controls, and which checks passed.

    Parameters
    ----------
    records
        The records of `control_records`, of all blocks together.
    standing
        Whether the defence is right on each of these images in the adaptive worst case, [N].
    attacks
        The summary of every attack: see `featurepaths.statistics.worst_case.summarise_attacks`.
    eps
        The radius of the ball, of which `controls.eps_multiples` are multiples.
    source
        The run whose examples were transferred, if any.
    """

    def correct(name: str) -> dict[str, int]:
        return {f"{side}_correct": int(records[f"{name}/{side}"].sum()) for side in SIDES}

    def missed(defended: np.ndarray) -> dict[str, int]:
        counts = {"defended_correct": int(defended.sum()), "missed": int((standing & ~defended).sum())}
        return {"n": len(standing), **counts}

    content: dict[str, Any] = {
        "n": len(standing),
        "eps": [
            {"eps": float(multiple) * eps, "multiple": str(multiple), **correct(f"eps/{number}")}
            for number, multiple in enumerate(controls.eps_multiples)
        ],
        "budget": [
            {**dict(zip(BUDGET, budget, strict=True)), **correct(f"budget/{number}")}
            for number, budget in enumerate(budgets_of(controls))
        ],
        "greatest_budget": missed(records[f"budget/{len(budgets_of(controls)) - 1}/defended"]),
        "black_box": {
            "attack": "square",
            "n_queries": controls.n_queries,
            **missed(records.get("black_box/defended", standing)),
        },
        "transfer": {"source": source, **missed(records.get("transfer/defended", standing))},
        "vanished": count_vanished(attacks),
        "false_positives": _false_positives(records),
    }
    checks = [{"check": name, "passed": bool(passed), "found": result} for name, passed, result in _checks(content)]
    return content | {"checks": checks}


def _false_positives(records: Records) -> list[dict[str, Any]]:
    """Return the counts of every corruption."""
    names = [name.removesuffix("/flagged") for name in records if name.endswith("/flagged")]
    return [
        {
            **dict(zip(("corruption", "level"), name.split("/")[1:], strict=True)),
            "n": len(records[f"{name}/flagged"]),
            "flagged": int(records[f"{name}/flagged"].sum()),
            "network_correct": int(records[f"{name}/undefended"].sum()),
            "defended_correct": int(records[f"{name}/defended"].sum()),
        }
        for name in names
    ]


def _checks(content: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """Yield the name of each check, whether it passed, and the counts in words."""
    count, last, search = content["n"], content["eps"][-1], content["greatest_budget"]
    black_box, transfer = content["black_box"], content["transfer"]
    clean = next(level["defended_correct"] for level in content["false_positives"] if level["corruption"] == "clean")
    for ball in content["eps"]:
        if ball["eps"] == 0:
            right = ball["defended_correct"]
            yield (
                "accuracy at eps 0 equals the clean accuracy",
                right == clean,
                f"{right} of {count} right at eps 0, {clean} when clean",
            )
    right = last["defended_correct"]
    yield "accuracy falls to 0 as eps grows", right == 0, f"{right} of {count} right at eps {last['eps']:.4g}"
    result = f"{search['missed']} of {count} found only by the greatest budget"
    yield "more iterations, restarts and targets find no more", search["missed"] <= LEVELLED_OFF * count, result
    if black_box["n_queries"]:
        result = f"{black_box['missed']} of {black_box['n']} found only by {black_box['attack']}"
        yield "the black-box attack finds nothing that gradients missed", black_box["missed"] == 0, result
    yield check_vanished(content["vanished"])
    if transfer["source"] is not None:
        result = f"{transfer['missed']} of {transfer['n']} found only by those of {transfer['source']}"
        yield "examples of another network find nothing that gradients missed", transfer["missed"] == 0, result


def _square(defense: FrozenDefense, block: Block, budget: Budget, n_queries: int) -> Tensor:
    """Return examples of the Square attack (Andriushchenko et al., ECCV 2020) on the prediction of the whole method."""
    norm = {"linf": "Linf", "l2": "L2"}[budget.norm]
    with seeded_generators(budget.seed, int(block.indices[0]), block.clean.device) as seed, torch.no_grad():
        attack = library().Square(
            defense.as_recogniser(), norm=norm, eps=budget.smallest_eps, n_queries=n_queries, seed=seed
        )
        return fit_windows(attack)(block.clean, block.labels)
