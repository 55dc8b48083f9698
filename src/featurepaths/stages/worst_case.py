"""Worst case: every attack of an attacker who knows the defence -> what is left of network, defence and detectors."""

import numpy as np

from featurepaths.detectors.thresholds import thresholds_in
from featurepaths.stages import cli
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.metrics import measure
from featurepaths.statistics.paired import mcnemar
from featurepaths.statistics.worst_case import count_evaded, count_left, summarise_attacks
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json, write_json


def main(arguments):
    settings, search, ball = arguments.settings, arguments.settings.search, arguments.settings.ball
    origin = cli.origin_of(arguments, cli.output_of(arguments))
    thresholds = read_json(arguments.threshold)["thresholds"]
    oblivious = settings.attack
    with open_hdf5(arguments.adaptive) as file, open_hdf5(arguments.detectors) as calibrated:
        labels, right = file["labels"][:], file["undefended/clean"][:]
        content = {
            "n": len(labels),
            "n_most_frequent": int(np.bincount(labels).max()),
            "threshold_method": "otsu",
            "threshold": thresholds["otsu"],
            "attack": settings.attack,
            **{key: getattr(search, key) for key in ("iterations", "restarts", "n_targets")},
            "norm": ball.norm,
            "eps": float(ball.eps),
            "eps_space": ball.eps_space,
            "left_out": file.attrs.get("left_out"),
            "undefended": count_left(file, oblivious, "undefended"),
            "defended": count_left(file, oblivious, "defended"),
            "mcnemar": mcnemar(file["defended/adaptive"][:], file["undefended/adaptive"][:]),
            "attacks": summarise_attacks(file["attacks"], labels, oblivious),
            "detection": [count_evaded(file, oblivious, *item) for item in thresholds.items()],
            "detectors": [
                evaluate(name, found, right, labels, thresholds_in(calibrated[name]))
                for name, found in file["detectors"].items()
            ],
        }
    write_json(arguments.metrics, content, origin)


def evaluate(name, found, right, labels, thresholds):
    """Return a detector's metrics on the examples that were made against itself."""
    groups = groups_of(right, found["network_prediction"][:] == labels)
    measured = measure(found["clean_score"][:], found["score"][:], groups, thresholds)
    return {"detector": name, "n": len(labels), **groups.counts, **measured}


if __name__ == "__main__":
    cli.run("worst_case", main)
