"""Summary of the attacks on a frozen defence: counts over images, worst cases, vanished gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

VANISHED = 0.01
"""Tolerated share of images with a vanished gradient: objectives saturate, sometimes too early."""


def summarise_attacks(attacks: h5py.Group, labels: np.ndarray, oblivious: str) -> list[dict[str, Any]]:
    """Return the counts of every attack; see `featurepaths.adaptive.run.adaptive_records`.

    Searches for different target classes count as one attack, which succeeds on an image if one of them does:
    ``evade.ce.targeted`` for ``evade.ce.target1`` and so on.

    Parameters
    ----------
    attacks
        The records, by the name of the attack.
    labels
        The images' true classes [N].
    oblivious
        Name of the attack without knowledge of the defence.
    """
    searches: dict[str, list[h5py.Group]] = {}
    for name, attack in attacks.items():
        start, _, end = name.rpartition(".")
        searches.setdefault(f"{start}.targeted" if end.startswith("target") else name, []).append(attack)
    return [_summarise(name, parts, labels, oblivious) for name, parts in searches.items()]


def _summarise(name: str, parts: list[h5py.Group], labels: np.ndarray, oblivious: str) -> dict[str, Any]:
    is_oblivious = name.startswith(f"{oblivious}.")
    objective, loss = ("misclassify", None) if is_oblivious else name.split(".")[:2]
    on_network_alone = name.startswith("misclassify.")
    attacked, vanished = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    defended, undefended = ~attacked, ~attacked
    for part in parts:
        in_part = part["attacked"][:]
        method_correct, network_correct = (part[answer][:] == labels for answer in ("label", "network_prediction"))
        attacked |= in_part
        defended &= ~in_part | method_correct
        undefended &= ~in_part | network_correct
        resisted = network_correct if on_network_alone else method_correct
        vanished |= in_part & resisted & (part["vanished_steps"][:] > 0)
    return {
        "name": name,
        "objective": objective,
        "loss": loss,
        "targeted": name.endswith(".targeted"),
        # an attack on the network alone does not use the defence
        "threat": "oblivious" if is_oblivious or on_network_alone else "adaptive",
        "attacked": int(attacked.sum()),
        "defended_correct": int((attacked & defended).sum()),
        "network_correct": int((attacked & undefended).sum()),
        "vanished": int(vanished.sum()),
        "n_queries": int(sum(part["n_queries"][:].max(initial=0) for part in parts)),
    }


def count_vanished(attacks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of `images` with a vanished gradient, and `n`, of attacked ones: see `summarise_attacks`."""
    return {"images": sum(attack["vanished"] for attack in attacks), "n": sum(attack["attacked"] for attack in attacks)}


def check_vanished(counts: Mapping[str, int]) -> tuple[str, bool, str]:
    """Return the name of the check of `count_vanished`'s counts, whether it passed, and the result in words."""
    result = "zero, or not finite, at some step on {images} of {n} images, in all attacks, that resisted"
    return "gradients do not vanish", counts["images"] <= VANISHED * counts["n"], result.format_map(counts)


def count_left(file: h5py.File, oblivious: str, side: str) -> dict[str, Any]:
    """Return the number of correct images: clean, under the oblivious attack, and in the worst case.

    Parameters
    ----------
    side
        ``undefended``, the network alone, or ``defended``, the whole method.
    """
    answer, labels = {"undefended": "network_prediction", "defended": "label"}[side], file["labels"][:]
    attacks = _by_stopping_rule(file["attacks"], oblivious)
    return {
        "clean_correct": int(file[f"{side}/clean"][:].sum()),
        "oblivious_correct": {rule: int((attack[answer][:] == labels).sum()) for rule, attack in attacks.items()},
        "adaptive_correct": int(file[f"{side}/adaptive"][:].sum()),
    }


def count_evaded(file: h5py.File, oblivious: str, method: str, threshold: float) -> dict[str, Any]:
    """Return the number of images with a misclassified example that scores at least `threshold`."""
    labels, attacks = file["labels"][:], _by_stopping_rule(file["attacks"], oblivious)
    return {
        "threshold_method": method,
        "threshold": threshold,
        "flagged_clean": int((file["clean_score"][:] < threshold).sum()),
        "oblivious_evaded": {
            rule: int(((attack["network_prediction"][:] != labels) & (attack["score"][:] >= threshold)).sum())
            for rule, attack in attacks.items()
        },
        "adaptive_evaded": int((file["evading_score"][:] >= threshold).sum()),
    }


def _by_stopping_rule(attacks: h5py.Group, oblivious: str) -> dict[str, h5py.Group]:
    """Return the records of the oblivious attack by its stopping rule."""
    return {name.partition(".")[2]: attack for name, attack in attacks.items() if name.startswith(f"{oblivious}.")}
