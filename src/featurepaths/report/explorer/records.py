"""Records of the explorer: what network and defence make of each shown image, and its feature paths."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from featurepaths.defense.recognition import nearest_classes, recognise
from featurepaths.paths.records import FeaturePaths

SIMILARITY_UNIT = 1e-4
"""Similarities are whole multiples of it in the page, in 16 bits."""
BAND = 0.05, 0.95
"""The quantiles of clean images' similarities between which their band lies."""


def packed(values: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON: its `type` as NumPy spells it, little-endian, its `shape`, and its `data` in base64."""
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    kind = f"{values.dtype.kind}{values.dtype.itemsize}"
    return {"type": kind, "shape": values.shape, "data": b64encode(values.tobytes()).decode()}


def classes(values: np.ndarray) -> dict[str, Any]:
    """Return class numbers, packed; -1 is an unknown one."""
    return packed(values.astype(np.int16))


def similarities(values: np.ndarray) -> dict[str, Any]:
    """Return similarities in [-1, 1], packed in units of `SIMILARITY_UNIT`."""
    return packed(np.rint(values / SIMILARITY_UNIT).astype(np.int16))


def similarity_to(paths: FeaturePaths, classes: np.ndarray) -> np.ndarray:
    """Return the similarity of each image to one class each, `classes` [N], in every layer: float32 [N, L]."""
    return paths.map_rows(lambda similarity, aims: similarity[np.arange(len(aims)), :, aims], classes)


def bands(clean: FeaturePaths, count: int) -> dict[str, Any]:
    """Return the band of each class: quantiles `BAND` [C, L, 2] of the similarity of its clean images to itself.

    ``counts`` [C] are the images of each class; the band of a class without one is 0.
    """
    own = similarity_to(clean, clean.labels)
    quantiles = np.zeros((count, own.shape[1], 2))
    for number in np.unique(clean.labels):
        quantiles[number] = np.quantile(own[clean.labels == number], BAND, axis=0).T
    return {"band": similarities(quantiles), "counts": np.bincount(clean.labels, minlength=count).tolist()}


def bytes_of_bands(layers: int, count: int) -> int:
    """Return the bytes of what `bands` returns, before base64; a class's number of images takes up to 8 characters."""
    return count * (2 * 2 * layers + 8)


def example(
    paths: FeaturePaths,
    positions: np.ndarray,
    scores: np.ndarray,
    thresholds: Mapping[str, float],
    answers: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Return the records of one version of the shown images: clean, or the examples of an attack and stopping rule.

    Parameters
    ----------
    paths
        Feature paths of these images.
    positions
        The positions [N] of the images among the shown ones.
    scores
        S_max [N].
    thresholds, answers
        By the method that set the threshold, it, and the prediction [N] of the whole defence.
    """
    return {
        "positions": packed(positions.astype(np.int32)),
        "network": classes(paths.network_predictions),
        "score": packed(scores.astype(np.float32)),
        "own": similarities(similarity_to(paths, paths.labels)),
        "named": similarities(similarity_to(paths, paths.network_predictions)),
        "votes": classes(paths.map_rows(nearest_classes)),
        "thresholds": thresholds,
        "flagged": {method: packed(scores < threshold) for method, threshold in thresholds.items()},
        "answers": {method: classes(answer) for method, answer in answers.items()},
    }


def bytes_of_example(layers: int, methods: int) -> int:
    """Return the bytes of an image in what `example` returns, before base64."""
    return 4 + 2 + 4 + 3 * 2 * layers + 3 * methods


def bytes_of_worst_case(layers: int, methods: int, attacks: int) -> int:
    """Return the bytes of an image in what `worst_case` returns, before base64."""
    return bytes_of_example(layers, methods) + 2 + 9 * attacks


def worst_case(
    file: h5py.File, rows: np.ndarray, positions: np.ndarray, thresholds: Mapping[str, float]
) -> dict[str, Any]:
    """Return the records of the adaptive attacks on the images at `rows` of their artefact, shown at `positions`.

    They are those of `example` on the worst example of each image, and in ``worst``: whether ``defended`` and
    ``undefended`` resist every attack, and what each of the ``attacks`` led to.
    """
    attacks = {}
    for name, attack in file["attacks"].items():
        attacks[name] = {
            "attacked": packed(attack["attacked"][:][rows]),
            "network": classes(attack["network_prediction"][:][rows]),
            "answer": classes(attack["label"][:][rows]),
            "score": packed(attack["score"][:][rows].astype(np.float32)),
        }
    resist = {side: packed(file[f"{side}/adaptive"][:][rows]) for side in ("undefended", "defended")}
    worst = file["worst"]
    network, vote, score = (worst[name][:][rows] for name in ("network_prediction", "vote", "score"))
    paths = FeaturePaths(worst["similarity"], rows, network, file["labels"][:][rows], file["index"][:][rows])
    answers = {method: recognise(network, score < threshold, vote) for method, threshold in thresholds.items()}
    return {**example(paths, positions, score, thresholds, answers), "worst": {**resist, "attacks": attacks}}


def matching_rows(index: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of shown images in an artefact's `index`, and those of the same images among `shown`.

    Both are ascending rows of the data set.
    """
    _, rows, positions = np.intersect1d(index, shown, assume_unique=True, return_indices=True)
    return rows, positions
