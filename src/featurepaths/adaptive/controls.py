"""Controls: does a defence resist because it is robust, or because its gradients are masked?

After Athalye, Carlini and Wagner (ICML 2018) and Carlini et al., On evaluating adversarial robustness (2019): accuracy
has to fall to 0 as the ball grows, more search has to stop helping, and attacks without gradients must not defeat what
resists attacks with gradients.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.corruptions import corruptions
from featurepaths.adaptive.objectives import NETWORK_OBJECTIVE
from featurepaths.adaptive.target import Block, Target
from featurepaths.adaptive.worst_case import PerImageWorstCase, cascade
from featurepaths.attacks.budget import Budget
from featurepaths.attacks.class_limits import possible_losses
from featurepaths.attacks.runner import Records
from featurepaths.attacks.torchattacks.library import library, seeded_generators
from featurepaths.attacks.torchattacks.square import fit_windows
from featurepaths.defense.module import FeaturePathDefense
from featurepaths.runtime.blocks import blocks, padded_tensor
from featurepaths.statistics.worst_case import check_vanished, count_vanished

LEVELLED_OFF = 0.02
"""Share of the images that the last increase of the budget may still defeat."""


def control_blocks(
    target: Target,
    images: object,
    labels: np.ndarray,
    indices: np.ndarray,
    transferred: object | None,
    rows_of_blocks: Iterable[slice] | None = None,
    *,
    objectives: Sequence[str],
    losses: Sequence[str],
    budget: Budget,
    eps_multiples: Sequence[float],
    budgets: Sequence[tuple[int, int]],
    n_queries: int,
    device: torch.device | str = "cpu",
) -> Records:
    """Run the controls that need the network; parameters as in `featurepaths.adaptive.run.adaptive_blocks`.

    Parameters
    ----------
    transferred
        Examples [N, C, H, W] against another network's defence, if there are any.
    eps_multiples
        Multiples of the ball's radius, each searched separately.
    budgets
        Growing numbers of iterations and restarts; each attacks what resisted the ones before.
    n_queries
        Queries of the black-box attack for each image.

    Yields
    ------
    The rows of each block and its records [n], all boolean. ``eps/<i>/undefended`` and ``/defended``: whether the
    predictions are correct in the i-th ball; ``budget/<i>/...`` likewise; ``black_box/defended``,
    ``transfer/defended``; ``false_positives/<corruption>/<level>/flagged``, ``/undefended`` and ``/defended``, also for
    ``clean``: all false if model outputs are not finite. ``undefined``: whether model outputs or a gradient were not
    finite anywhere.
    """
    possible = possible_losses(losses, target.classes)
    pairs = [(objective, loss) for objective in (NETWORK_OBJECTIVE, *objectives) for loss in possible]
    reference_model = target.reference_model
    for rows in blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks:
        block = Block.of(images[rows], labels[rows], indices[rows], device)
        records: dict[str, np.ndarray] = {}
        worst_cases = [PerImageWorstCase(reference_model, block)]
        for number, (iterations, restart) in enumerate(budgets):
            cascade(target, block, pairs, budget.with_iterations(iterations), restart, worst_cases[0])
            records |= _resisting(f"budget/{number}", worst_cases[0])
        for number, multiple in enumerate(eps_multiples):
            if multiple == 1 and budgets[0] == (budget.iterations, 0):  # the same search as the first budget's
                records |= {f"eps/{number}/{side}": records[f"budget/0/{side}"] for side in ("undefended", "defended")}
                continue
            # in a ball of radius 0 nothing moves, so that one step suffices
            ball = budget.scaled(multiple) if multiple > 0 else budget.scaled(multiple).with_iterations(1)
            worst_cases.append(cascade(target, block, pairs, ball))
            records |= _resisting(f"eps/{number}", worst_cases[-1])

        examples = {"black_box": _square(reference_model, block, budget, n_queries)}
        if transferred is not None:
            examples["transfer"] = padded_tensor(transferred[rows], device)
        for name, adversarial in examples.items():
            worst_cases.append(PerImageWorstCase(reference_model, block))
            worst_cases[-1].update(adversarial, np.arange(block.count))
            records[f"{name}/defended"] = worst_cases[-1].defended

        records["undefined"] = np.any([worst_case.undefined for worst_case in worst_cases], axis=0)
        changes = {("clean", ""): lambda clean, _: clean}
        changes |= corruptions(_smallest(budget.eps), budget.norm, budget.seed)
        true = block.labels.cpu().numpy()
        for (name, level), change in changes.items():
            with torch.no_grad():
                outputs, finite = reference_model.outputs_and_finite(change(block.clean, block.indices))
                decision = reference_model.decide(outputs)
            finite = finite.cpu().numpy()
            records["undefined"] |= ~finite[: block.count]
            for key, values in (
                ("flagged", decision.flagged),
                ("undefended", decision.network_prediction == true),
                ("defended", decision.prediction == true),
            ):
                records[f"false_positives/{name}/{level or '-'}/{key}"] = (finite & values)[: block.count]
        yield rows, records


def summarise(
    records: Mapping[str, np.ndarray],
    standing: np.ndarray,
    attacks: Sequence[Mapping[str, Any]],
    *,
    eps: float,
    eps_multiples: Sequence[str],
    budgets: Sequence[tuple[int, int]],
    n_queries: int,
    source: str | None,
) -> dict[str, Any]:
    """Return the counts of all controls, and which checks passed.

    Parameters
    ----------
    records
        The records of `control_blocks`, of all blocks together.
    standing
        Whether the defence is right on each of these images in the adaptive worst case, [N].
    attacks
        The summary of every attack: see `featurepaths.statistics.worst_case.summarise_attacks`.
    eps_multiples
        Multiples of `eps`, as written in the configuration.
    source
        The run whose examples were transferred, if any.
    """

    def correct(name: str) -> dict[str, int]:
        return {f"{side}_correct": int(records[f"{name}/{side}"].sum()) for side in ("undefended", "defended")}

    def missed(defended: np.ndarray) -> dict[str, int]:
        counts = {"defended_correct": int(defended.sum()), "missed": int((standing & ~defended).sum())}
        return {"n": len(standing), **counts}

    content: dict[str, Any] = {
        "n": len(standing),
        "eps": [
            {"eps": float(Fraction(multiple)) * eps, "multiple": multiple, **correct(f"eps/{number}")}
            for number, multiple in enumerate(eps_multiples)
        ],
        "budget": [
            {"iterations": iterations, "restarts": restart + 1, **correct(f"budget/{number}")}
            for number, (iterations, restart) in enumerate(budgets)
        ],
        "black_box": {"attack": "square", "n_queries": n_queries, **missed(records["black_box/defended"])},
        "transfer": {"source": source, **missed(records.get("transfer/defended", standing))},
        "vanished": count_vanished(attacks),
        "false_positives": _false_positives(records),
    }
    return content | {"checks": _checks(content)}


def _false_positives(records: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the counts of every corruption."""
    counted = {"flagged": "flagged", "network_correct": "undefended", "defended_correct": "defended"}
    names = [
        name.split("/")[1:3] for name in records if name.startswith("false_positives/") and name.endswith("/flagged")
    ]
    return [
        {"corruption": corruption, "level": level, "n": len(records[f"false_positives/{corruption}/{level}/flagged"])}
        | {key: int(records[f"false_positives/{corruption}/{level}/{side}"].sum()) for key, side in counted.items()}
        for corruption, level in names
    ]


def _checks(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the name of each check, whether it passed, and the counts in words."""
    count, last, budget = content["n"], content["eps"][-1], content["budget"]
    black_box, transfer = content["black_box"], content["transfer"]
    gain = budget[-2]["defended_correct"] - budget[-1]["defended_correct"] if len(budget) > 1 else 0
    clean = next(each["defended_correct"] for each in content["false_positives"] if each["corruption"] == "clean")
    checks = [
        (
            "eps 0 gives the clean accuracy",
            at_zero["defended_correct"] == clean,
            f"{at_zero['defended_correct']} of {count} right at eps 0, {clean} when clean",
        )
        for at_zero in content["eps"]
        if at_zero["eps"] == 0
    ]
    checks += [
        (
            "accuracy falls to 0 as eps grows",
            last["defended_correct"] == 0,
            f"{last['defended_correct']} of {count} right at eps {last['eps']:.4g}",
        ),
        (
            "more iterations and restarts find no more",
            gain <= LEVELLED_OFF * count,
            f"the last growth of the budget found {gain} of {count} more",
        ),
        (
            "the black-box attack finds nothing that gradients missed",
            black_box["missed"] == 0,
            f"{black_box['missed']} of {black_box['n']} found only by {black_box['attack']}",
        ),
        check_vanished(content["vanished"]),
    ]
    if transfer["source"] is not None:
        checks.append(
            (
                "examples of another network find nothing that gradients missed",
                transfer["missed"] == 0,
                f"{transfer['missed']} of {transfer['n']} found only by those of {transfer['source']}",
            )
        )
    return [{"check": name, "passed": bool(passed), "found": found} for name, passed, found in checks]


def _resisting(name: str, worst_case: PerImageWorstCase) -> dict[str, np.ndarray]:
    return {f"{name}/undefended": worst_case.network, f"{name}/defended": worst_case.defended}


def _smallest(eps: float | Tensor) -> float:
    return float(eps.min()) if isinstance(eps, Tensor) else float(eps)


def _square(defense: FeaturePathDefense, block: Block, budget: Budget, n_queries: int) -> Tensor:
    """Return examples of the Square attack (Andriushchenko et al., ECCV 2020) on the prediction of the whole method."""
    with seeded_generators(budget.seed, int(block.indices[0]), block.clean.device) as seed, torch.no_grad():
        attack = library().Square(
            defense.as_recogniser(),
            norm={"linf": "Linf", "l2": "L2"}[budget.norm],
            eps=_smallest(budget.eps),
            n_queries=n_queries,
            seed=seed,
        )
        return fit_windows(attack)(block.clean, block.labels)
