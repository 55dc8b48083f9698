"""What the records of all attacks on a frozen defence amount to: counts over images, and each detector's metrics."""

from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np

OBLIVIOUS = "oblivious"
VANISHED = 0.01
"""Share of the images that an attack may leave with a vanished gradient: goals saturate, now and then too early."""


def summarise_attacks(attacks: h5py.Group, labels: np.ndarray, oblivious: str) -> list[dict[str, Any]]:
    """Return what every attack did to the images that it attacked; see `featurepaths.adaptive.run.adaptive_blocks`.

    Searches for the several target classes count as one attack, which has won an image when one of them has.

    Parameters
    ----------
    attacks
        The records, by the name of the attack.
    labels
        The images' true classes [N].
    oblivious
        Name of the attack that does not know the defence.
    """
    together: dict[str, list[str]] = {}
    for name in attacks:
        together.setdefault(_kind(name), []).append(name)
    return [_summarise(name, [attacks[one] for one in parts], labels, oblivious) for name, parts in together.items()]


def _kind(name: str) -> str:
    """Return the name under which an attack counts: ``evade.ce.targeted`` for ``evade.ce.target1`` and so on."""
    start, _, end = name.rpartition(".")
    return f"{start}.targeted" if end.startswith("target") else name


def _summarise(name: str, parts: list[h5py.Group], labels: np.ndarray, oblivious: str) -> dict[str, Any]:
    attacked = np.any([part["attacked"][:] for part in parts], axis=0)
    defended, undefended, vanished = attacked.copy(), attacked.copy(), np.zeros_like(attacked)
    aims_at_the_network = name.startswith("misclassify.")
    for part in parts:
        there = part["attacked"][:]
        right = part["label"][:] == labels, part["network_prediction"][:] == labels
        defended &= ~there | right[0]
        undefended &= ~there | right[1]
        resisted = right[1] if aims_at_the_network else right[0]
        vanished |= there & resisted & (part["vanished_steps"][:] > 0)
    is_oblivious = name.startswith(f"{oblivious}.")
    objective, loss = ("misclassify", None) if is_oblivious else name.split(".")[:2]
    return {
        "name": name,
        "objective": objective,
        "loss": loss,
        "targeted": name.endswith(".targeted"),
        # an attack on the network alone knows nothing of the defence, whoever runs it
        "threat": OBLIVIOUS if is_oblivious or aims_at_the_network else "adaptive",
        "attacked": int(attacked.sum()),
        "defended_correct": int(defended.sum()),
        "network_correct": int(undefended.sum()),
        "vanished": int(vanished.sum()),
        "n_queries": int(sum(part["n_queries"][:].max(initial=0) for part in parts)),
    }


def count_vanished(attacks: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return on how many `images` the gradient vanished, of the `n` that attacks met: see `summarise_attacks`."""
    attacks = list(attacks)
    return {
        key: sum(attack[of_each] for attack in attacks) for key, of_each in (("images", "vanished"), ("n", "attacked"))
    }


def check_vanished(counts: Mapping[str, int]) -> tuple[str, bool, str]:
    """Return the name of the check of `count_vanished`'s counts, whether it passed, and what was found in words."""
    found = "zero, or not finite, at some step on {images} of {n} images, in all attacks, that resisted"
    return "gradients do not vanish", counts["images"] <= VANISHED * counts["n"], found.format_map(counts)


def oblivious_correct(attacks: h5py.Group, labels: np.ndarray, oblivious: str, answer: str) -> dict[str, np.ndarray]:
    """Return, by stopping rule of the oblivious attack, whether ``label`` or ``network_prediction`` is right [N]."""
    names = [name for name in attacks if name.startswith(f"{oblivious}.")]
    return {name.partition(".")[2]: attacks[name][answer][:] == labels for name in names}


def count_left(file: h5py.File, oblivious: str, side: str) -> dict[str, Any]:
    """Return how many images are answered correctly when clean, under the oblivious attack, and in the worst case.

    Parameters
    ----------
    side
        ``undefended``, the network alone, or ``defended``, the whole method.
    """
    answer = {"undefended": "network_prediction", "defended": "label"}[side]
    by_keep = oblivious_correct(file["attacks"], file["labels"][:], oblivious, answer)
    return {
        "clean_correct": int(file[f"{side}/clean"][:].sum()),
        "oblivious_correct": {stopping_rule: int(correct.sum()) for stopping_rule, correct in by_keep.items()},
        "adaptive_correct": int(file[f"{side}/adaptive"][:].sum()),
    }


def count_evaded(file: h5py.File, oblivious: str, method: str, threshold: float) -> dict[str, Any]:
    """Return how many images have an example that the network gets wrong and that scores at least `threshold`."""
    attacks, labels = file["attacks"], file["labels"][:]
    evaded = {
        name.partition(".")[2]: int(
            ((attacks[name]["network_prediction"][:] != labels) & (attacks[name]["score"][:] >= threshold)).sum()
        )
        for name in attacks
        if name.startswith(f"{oblivious}.")
    }
    return {
        "threshold_method": method,
        "threshold": threshold,
        "flagged_clean": int((file["clean_score"][:] < threshold).sum()),
        "oblivious_evaded": evaded,
        "adaptive_evaded": int((file["evading_score"][:] >= threshold).sum()),
    }
