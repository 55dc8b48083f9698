"""All counts of an adaptive evaluation: of its attacks, of detection, and of detectors that are attacked alone."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from featurepaths.experiment.config.settings import WorstCase
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.metrics import measure
from featurepaths.statistics.paired import mcnemar
from featurepaths.statistics.worst_case import count_evaded, count_left, summarise_attacks


def summarise(
    file: h5py.File,
    settings: WorstCase,
    threshold_method: str,
    thresholds: Mapping[str, float],
    detector_thresholds: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return the counts of an adaptive evaluation: the content of ``adaptive/<pooling>.json``, see docs/artefacts.md.

    Parameters
    ----------
    file
        The records, by the names of `featurepaths.adaptive.run.adaptive_records`, and ``labels``; the attribute
        ``left_out`` describes searches that were left out, if any.
    threshold_method, thresholds
        The method of the defence's threshold, and all thresholds of its score by method.
    detector_thresholds
        The thresholds of every detector that was attacked itself.
    """
    search, ball, labels = settings.search, settings.ball, file["labels"][:]
    return {
        "n": len(labels),
        "n_most_frequent": int(np.bincount(labels).max()),
        "threshold_method": threshold_method,
        "threshold": thresholds[threshold_method],
        "attack": settings.attack,
        **{key: getattr(search, key) for key in ("iterations", "restarts", "n_targets")},
        "norm": ball.norm,
        "eps": float(ball.eps),
        "eps_space": ball.eps_space,
        "left_out": file.attrs.get("left_out"),
        "undefended": count_left(file, settings.attack, "undefended"),
        "defended": count_left(file, settings.attack, "defended"),
        "mcnemar": mcnemar(file["defended/adaptive"][:], file["undefended/adaptive"][:]),
        "attacks": summarise_attacks(file["attacks"], labels, settings.attack),
        "detection": [count_evaded(file, settings.attack, *item) for item in thresholds.items()],
        "detectors": [_detector(file, name, detector_thresholds[name]) for name in file["detectors"]],
    }


def _detector(file: h5py.File, name: str, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Return a detector's metrics on the examples that were made against itself."""
    labels, records = file["labels"][:], file[f"detectors/{name}"]
    groups = groups_of(file["undefended/clean"][:], records["network_prediction"][:] == labels)
    measured = measure(records["clean_score"][:], records["score"][:], groups, thresholds)
    return {"detector": name, "n": len(labels), **groups.counts, **measured}
