"""Controls: does an attack's failure mean robustness, or only that its gradients are masked?

After Athalye, Carlini and Wagner (ICML 2018) and Carlini et al., On evaluating adversarial robustness (2019): accuracy
has to fall to 0 as the ball grows, more search has to stop helping, and attacks without gradients must not find what
those with gradients missed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featurepaths.adaptive.corruptions import corruptions
from featurepaths.adaptive.run import Block, Budget, PerImageWorstCase, Target, cascade
from featurepaths.attacks.class_limits import possible_losses
from featurepaths.attacks.torchattacks.library import library
from featurepaths.attacks.torchattacks.runner import own_random_numbers
from featurepaths.attacks.torchattacks.square import fitting
from featurepaths.defense.module import FeaturePathDefense
from featurepaths.runtime.blocks import blocks, pad_block, to_tensor
from featurepaths.statistics.worst_case import check_vanished, count_vanished

LEVELLED_OFF = 0.02
"""Share of images that the last growth of the budget may still find."""


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
    queries: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[slice, Mapping[str, np.ndarray]]]:
    """Run the controls that need the network; parameters as in `featurepaths.adaptive.run.adaptive_blocks`.

    Parameters
    ----------
    transferred
        Examples [N, C, H, W] made against another network's defence, if there is one.
    multiples
        Of the ball's radius, each searched by itself.
    budgets
        Growing numbers of iterations and restarts; each attacks what the ones before left standing.
    queries
        Of the black-box attack, for each image.

    Yields
    ------
    The rows of each block and its records [n], all boolean. ``eps/<i>/undefended`` and ``/defended``: whether the
    answers are right in the i-th ball; ``budget/<i>/...`` likewise; ``black_box/defended``, ``transfer/defended``;
    ``false_positives/<corruption>/<level>/flagged``, ``/undefended`` and ``/defended``, ``clean`` among them: none of
    the three where what the network shows is not finite. ``undefined``: whether that, or a gradient, happened anywhere.
    """
    possible = possible_losses(losses, target.classes)
    pairs = [(objective, loss) for objective in ("misclassify", *objectives) for loss in possible]
    for rows in blocks(len(labels)) if rows_of_blocks is None else rows_of_blocks:
        block = Block.of(images[rows], labels[rows], indices[rows], device)
        everything = np.arange(block.count)
        records: dict[str, np.ndarray] = {}
        all_standing = [standing := PerImageWorstCase(target.exact, block)]
        for number, (iterations, restart) in enumerate(budgets):
            cascade(target, standing, pairs, budget.of(iterations), restart)
            records |= _standing(f"budget/{number}", standing)
        for number, multiple in enumerate(eps_multiples):
            if multiple == 1 and budgets[0] == (budget.iterations, 0):  # the very search that the budgets begin with
                records |= {f"eps/{number}/{side}": records[f"budget/0/{side}"] for side in ("undefended", "defended")}
                continue
            all_standing.append(standing := PerImageWorstCase(target.exact, block))
            ball = budget.times(multiple)
            # in a ball of radius 0 nothing moves, so that one step tells as much as many
            cascade(target, standing, pairs, ball if multiple > 0 else ball.of(1))
            records |= _standing(f"eps/{number}", standing)

        all_standing.append(standing := PerImageWorstCase(target.exact, block))
        standing.update(_square(target.exact, block, budget, queries), everything)
        records["black_box/defended"] = standing.defended
        if transferred is not None:
            all_standing.append(standing := PerImageWorstCase(target.exact, block))
            standing.update(to_tensor(pad_block(transferred[rows]), device), everything)
            records["transfer/defended"] = standing.defended

        records["undefined"] = np.any([each.undefined for each in all_standing], axis=0)
        changed = {("clean", ""): lambda clean, _: clean}
        changed |= corruptions(_smallest(budget.eps), budget.norm, budget.seed)
        for (name, level), change in changed.items():
            with torch.no_grad():
                seen, answered = target.exact.look(change(block.clean, block.indices))
                decision, answered = target.exact.decide(seen), answered.cpu().numpy()
            true = block.labels.cpu().numpy()
            found = {
                "flagged": answered & decision.flagged,
                "undefended": answered & (decision.network_predictions == true),
                "defended": answered & (decision.labels == true),
            }
            records["undefined"] |= ~answered[: block.count]
            for key, values in found.items():
                records[f"false_positives/{name}/{level or '-'}/{key}"] = values[: block.count]
        yield rows, records


def summarise(
    found: Mapping[str, np.ndarray],
    standing: np.ndarray,
    attacks: Sequence[Mapping[str, Any]],
    *,
    eps: float,
    eps_multiples: Sequence[str],
    budgets: Sequence[tuple[int, int]],
    queries: int,
    source: str | None,
) -> dict[str, Any]:
    """Return the counts of all controls, and which passed.

    Parameters
    ----------
    found
        The records of `control_blocks`, of all blocks together.
    standing
        Whether the defence is right on each of these images in the adaptive worst case, [N].
    attacks
        What every attack did: see `featurepaths.statistics.worst_case.summarise_attacks`.
    multiples
        Of `eps`, as they were written.
    source
        Whose examples were transferred, if any were.
    """
    content: dict[str, Any] = {
        "n": len(standing),
        "eps": [
            {"eps": float(Fraction(multiple)) * eps, "multiple": multiple, **_right(found, f"eps/{number}")}
            for number, multiple in enumerate(eps_multiples)
        ],
        "budget": [
            {"iterations": iterations, "restarts": restart + 1, **_right(found, f"budget/{number}")}
            for number, (iterations, restart) in enumerate(budgets)
        ],
        "black_box": {"attack": "square", "n_queries": queries, **_missed(found["black_box/defended"], standing)},
        "transfer": {"source": source, **_missed(found.get("transfer/defended", standing), standing)},
        "vanished": count_vanished(attacks),
        "false_positives": _false_positives(found),
    }
    return content | {"checks": _checks(content)}


def _right(found: Mapping[str, np.ndarray], name: str) -> dict[str, int]:
    return {f"{side}_correct": int(found[f"{name}/{side}"].sum()) for side in ("undefended", "defended")}


def _missed(resisted: np.ndarray, standing: np.ndarray) -> dict[str, int]:
    return {"n": len(standing), "defended_correct": int(resisted.sum()), "missed": int((standing & ~resisted).sum())}


def _false_positives(found: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    names = [
        name.split("/")[1:3] for name in found if name.startswith("false_positives/") and name.endswith("/flagged")
    ]
    return [
        {
            "corruption": corruption,
            "level": level,
            "n": len(found[f"false_positives/{corruption}/{level}/flagged"]),
            "flagged": int(found[f"false_positives/{corruption}/{level}/flagged"].sum()),
            "network_correct": int(found[f"false_positives/{corruption}/{level}/undefended"].sum()),
            "defended_correct": int(found[f"false_positives/{corruption}/{level}/defended"].sum()),
        }
        for corruption, level in names
    ]


def _checks(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return which controls passed, and what was found."""
    count, last, budget = content["n"], content["eps"][-1], content["budget"]
    black_box, transfer = content["black_box"], content["transfer"]
    grown = budget[-2]["defended_correct"] - budget[-1]["defended_correct"] if len(budget) > 1 else 0
    clean = next(each["defended_correct"] for each in content["false_positives"] if each["corruption"] == "clean")
    made = [
        (
            "eps 0 gives the clean accuracy",
            at_zero["defended_correct"] == clean,
            f"{at_zero['defended_correct']} of {count} right at eps 0, {clean} when clean",
        )
        for at_zero in content["eps"]
        if at_zero["eps"] == 0
    ]
    made += [
        (
            "accuracy falls to 0 as eps grows",
            last["defended_correct"] == 0,
            f"{last['defended_correct']} of {count} right at eps {last['eps']:.4g}",
        ),
        (
            "more iterations and restarts find no more",
            grown <= LEVELLED_OFF * count,
            f"the last growth of the budget found {grown} of {count} more",
        ),
        (
            "the black-box attack finds nothing that gradients missed",
            black_box["missed"] == 0,
            f"{black_box['missed']} of {black_box['n']} found only by {black_box['attack']}",
        ),
        check_vanished(content["vanished"]),
    ]
    if transfer["source"] is not None:
        made.append(
            (
                "examples of another network find nothing that gradients missed",
                transfer["missed"] == 0,
                f"{transfer['missed']} of {transfer['n']} found only by those of {transfer['source']}",
            )
        )
    return [{"check": name, "passed": bool(passed), "found": found} for name, passed, found in made]


def _standing(name: str, standing: PerImageWorstCase) -> dict[str, np.ndarray]:
    return {f"{name}/undefended": standing.network, f"{name}/defended": standing.defended}


def _smallest(eps: float | Tensor) -> float:
    return float(eps.min()) if isinstance(eps, Tensor) else float(eps)


def _square(defense: FeaturePathDefense, block: Block, budget: Budget, queries: int) -> Tensor:
    """Return examples of the Square attack (Andriushchenko et al., ECCV 2020) on what the whole method answers."""
    with own_random_numbers(budget.seed, int(block.indices[0]), block.clean.device) as seed, torch.no_grad():
        attack = library().Square(
            defense.as_recogniser(),
            norm={"linf": "Linf", "l2": "L2"}[budget.norm],
            eps=_smallest(budget.eps),
            n_queries=queries,
            seed=seed,
        )
        return fitting(attack)(block.clean, block.labels)
