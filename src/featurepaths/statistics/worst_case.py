"""Summary of the attacks on a frozen defence: counts over images, worst cases, vanished gradients."""

from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np

OBLIVIOUS = "oblivious"
VANISHED = 0.01
"""Tolerated share of images with a vanished gradient: objectives saturate, sometimes too early."""


def summarise_attacks(attacks: h5py.Group, labels: np.ndarray, oblivious: str) -> list[dict[str, Any]]:
    """Return the counts of every attack; see `featurepaths.adaptive.run.adaptive_records`.

    Searches for different target classes count as one attack, which succeeds on an image if one of them does.

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
        searches.setdefault(_kind(name), []).append(attack)
    return [_summarise(name, parts, labels, oblivious) for name, parts in searches.items()]


def _kind(name: str) -> str:
    """Return the name under which an attack counts: ``evade.ce.targeted`` for ``evade.ce.target1`` and so on."""
    start, _, end = name.rpartition(".")
    return f"{start}.targeted" if end.startswith("target") else name


def _summarise(name: str, parts: list[h5py.Group], labels: np.ndarray, oblivious: str) -> dict[str, Any]:
    attacked = np.any([part["attacked"][:] for part in parts], axis=0)
    defended, undefended, vanished = attacked.copy(), attacked.copy(), np.zeros_like(attacked)
    attacks_network_alone = name.startswith("misclassify.")
    for part in parts:
        tried = part["attacked"][:]
        method_correct, network_correct = (part[answer][:] == labels for answer in ("label", "network_prediction"))
        defended &= ~tried | method_correct
        undefended &= ~tried | network_correct
        resisted = network_correct if attacks_network_alone else method_correct
        vanished |= tried & resisted & (part["vanished_steps"][:] > 0)
    is_oblivious = name.startswith(f"{oblivious}.")
    objective, loss = ("misclassify", None) if is_oblivious else name.split(".")[:2]
    return {
        "name": name,
        "objective": objective,
        "loss": loss,
        "targeted": name.endswith(".targeted"),
        # an attack on the network alone does not use the defence
        "threat": OBLIVIOUS if is_oblivious or attacks_network_alone else "adaptive",
        "attacked": int(attacked.sum()),
        "defended_correct": int(defended.sum()),
        "network_correct": int(undefended.sum()),
        "vanished": int(vanished.sum()),
        "n_queries": int(sum(part["n_queries"][:].max(initial=0) for part in parts)),
    }


def count_vanished(attacks: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of `images` with a vanished gradient, and `n`, of attacked ones: see `summarise_attacks`."""
    attacks = list(attacks)
    return {"images": sum(each["vanished"] for each in attacks), "n": sum(each["attacked"] for each in attacks)}


def check_vanished(counts: Mapping[str, int]) -> tuple[str, bool, str]:
    """Return the name of the check of `count_vanished`'s counts, whether it passed, and the result in words."""
    result = "zero, or not finite, at some step on {images} of {n} images, in all attacks, that resisted"
    return "gradients do not vanish", counts["images"] <= VANISHED * counts["n"], result.format_map(counts)


def _oblivious(attacks: h5py.Group, oblivious: str) -> dict[str, h5py.Group]:
    """Return the records of the oblivious attack by its stopping rule."""
    return {name.partition(".")[2]: attack for name, attack in attacks.items() if name.startswith(f"{oblivious}.")}


def oblivious_correct(attacks: h5py.Group, labels: np.ndarray, oblivious: str, answer: str) -> dict[str, np.ndarray]:
    """Return, by stopping rule of the oblivious attack, whether ``label`` or ``network_prediction`` is correct [N]."""
    return {rule: attack[answer][:] == labels for rule, attack in _oblivious(attacks, oblivious).items()}


def count_left(file: h5py.File, oblivious: str, side: str) -> dict[str, Any]:
    """Return the number of correct images: clean, under the oblivious attack, and in the worst case.

    Parameters
    ----------
    side
        ``undefended``, the network alone, or ``defended``, the whole method.
    """
    answer = {"undefended": "network_prediction", "defended": "label"}[side]
    by_rule = oblivious_correct(file["attacks"], file["labels"][:], oblivious, answer)
    return {
        "clean_correct": int(file[f"{side}/clean"][:].sum()),
        "oblivious_correct": {rule: int(correct.sum()) for rule, correct in by_rule.items()},
        "adaptive_correct": int(file[f"{side}/adaptive"][:].sum()),
    }


def count_evaded(file: h5py.File, oblivious: str, method: str, threshold: float) -> dict[str, Any]:
    """Return the number of images with a misclassified example that scores at least `threshold`."""
    correct = oblivious_correct(file["attacks"], file["labels"][:], oblivious, "network_prediction")
    return {
        "threshold_method": method,
        "threshold": threshold,
        "flagged_clean": int((file["clean_score"][:] < threshold).sum()),
        "oblivious_evaded": {
            rule: int((~correct[rule] & (attack["score"][:] >= threshold)).sum())
            for rule, attack in _oblivious(file["attacks"], oblivious).items()
        },
        "adaptive_evaded": int((file["evading_score"][:] >= threshold).sum()),
    }
