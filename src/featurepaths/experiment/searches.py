"""The searches of adaptive attacks and of their controls, in their order. Nothing here needs torch."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, get_args

from featurepaths.attacks.class_limits import possible_losses
from featurepaths.experiment.config.evaluation import AdaptiveSearch, Controls
from featurepaths.experiment.config.types import Objective

NETWORK_OBJECTIVE = "misclassify"
"""The objective against the network alone."""
TARGETED = ("evade", "misvote")
"""The objectives that are also searched towards target classes: each reaches images that untargeted searches miss."""
ALL = {"objectives": list(get_args(Objective)), "losses": ["ce", "dlr"]}
"""Objectives and losses of the greatest budget of the controls, including those that the adaptive attacks left out."""


class SearchKind(NamedTuple):
    """One search: its objective and loss, the rank of the target class (0: none), and the number of the restart.

    A search for `evasion` is for images that fell while they were flagged, because detection is judged alone as well.
    """

    objective: str
    loss: str
    rank: int = 0
    restart: int = 0
    evasion: bool = False

    def __str__(self) -> str:
        suffixes = {f".target{self.rank}": self.rank, f".restart{self.restart}": self.restart, ".evasion": self.evasion}
        return f"{self.objective}.{self.loss}" + "".join(suffix for suffix, wanted in suffixes.items() if wanted)


def searches(search: AdaptiveSearch, classes: int) -> Iterator[SearchKind]:
    """Yield every search of an adaptive attack that the number of classes allows.

    See `featurepaths.attacks.class_limits` for those that are left out.
    """
    untargeted = product((NETWORK_OBJECTIVE, *search.objectives), possible_losses(search.losses, classes))
    for restart, (objective, loss) in product(range(search.restarts), list(untargeted)):
        yield SearchKind(objective, loss, restart=restart)
    targeted = NETWORK_OBJECTIVE, *filter(search.objectives.count, TARGETED)
    first_loss = possible_losses(search.losses, classes, targeted=True)[:1]
    ranks = range(1, min(search.n_targets, classes - 1) + 1)
    for rank, objective, loss in product(ranks, targeted, first_loss):
        yield SearchKind(objective, loss, rank=rank)
    if search.skip_defeated:  # otherwise the searches above have run to their end on every image
        unflagged = [objective for objective in search.objectives if objective != "misvote"]
        for objective, loss in product(unflagged, possible_losses(search.losses, classes)[:1]):
            yield SearchKind(objective, loss, evasion=True)


def budgets_of(controls: Controls) -> list[tuple[int, int, int]]:
    """Return growing budgets, each the numbers of iterations, restarts and target classes of its searches."""
    greatest = controls.iterations[-1]
    budgets = [(iterations, 1, 0) for iterations in controls.iterations]
    budgets += [(greatest, restarts, 0) for restarts in range(2, controls.restarts + 2)]
    return budgets + [(greatest, controls.restarts + 1, controls.n_targets)] * (controls.n_targets > 0)


def searches_of_budgets(
    search: AdaptiveSearch, controls: Controls, classes: int
) -> Iterator[tuple[int, list[SearchKind]]]:
    """Yield the iterations of each budget, and its searches that neither an earlier one nor the attack has made."""
    search = search.model_copy(update={"skip_defeated": False})  # no searches for evasion alone
    done = {(search.iterations, kind) for kind in searches(search, classes)}
    for iterations, restarts, n_targets in budgets_of(controls):
        grown = search.model_copy(update={"restarts": restarts, "n_targets": n_targets, **(ALL if n_targets else {})})
        kinds = [kind for kind in searches(grown, classes) if (iterations, kind) not in done]
        done |= {(iterations, kind) for kind in kinds}
        yield iterations, kinds


def searches_of_balls(search: AdaptiveSearch, classes: int) -> list[SearchKind]:
    """Return the searches in each ball of the controls whose radius is not that of the attack."""
    first = {"restarts": 1, "n_targets": 0, "skip_defeated": False}
    return list(searches(search.model_copy(update=first), classes))
