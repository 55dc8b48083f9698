"""Attacked test images as the figures show them: the defence's decisions on all, and some of them with their paths."""

import numpy as np

from featurepaths.report.figures.examples import Example, chosen_rows
from featurepaths.statistics.attacked_images import AttackedImages
from featurepaths.store.hdf5 import as_slice, open_hdf5

THRESHOLD = "otsu"
PROTOCOLS = ("held-out", "paper")
"""The protocols whose decisions are shown: the first that the experiment has."""


def strongest(stopping_rules):
    """Return the stopping rule whose examples are shown: that of the greatest loss, or the last one."""
    return "max-loss" if "max-loss" in stopping_rules else stopping_rules[-1]


def defense_of(detection, recognition):
    """Return the protocol, the threshold and the name of the votes in the metrics of one stopping rule."""
    protocol = next(name for name in PROTOCOLS if name in detection["protocols"])
    threshold = detection["protocols"][protocol]["at_threshold"][THRESHOLD]["threshold"]
    layers = ", ".join(map(str, recognition["protocols"][protocol]["layers"]))
    return protocol, threshold, f"vote of layers {layers}"


def oblivious(title, protocol, threshold, votes_of, scores, answers):
    """Return the decisions on the examples of an oblivious attack, from the records of detection and recognition."""
    with open_hdf5(scores) as detection, open_hdf5(answers) as recognition:
        return AttackedImages(
            f"{title} (the attacker does not know the defence)",
            votes_of,
            threshold,
            recognition["index"][:],
            recognition["labels"][:],
            recognition["network_adversarial"][:],
            recognition[protocol]["adversarial_vote"][:],
            detection[protocol]["adversarial_score"][:],
            recognition["network_clean"][:] == recognition["labels"][:],
        )


def oblivious_examples(images, data, attack, stopping_rule, paths):
    """Return the shown examples of an oblivious attack; `paths` are those of its examples, row for row."""
    rows = chosen_rows(images)
    with open_hdf5(attack) as file:
        positions = np.searchsorted(file["index"][:], images.index[rows])
        adversarial = file[stopping_rule]["adversarial"][as_slice(positions)]
    return _examples(data, images, rows, adversarial, paths.similarity[as_slice(paths.rows[rows])])


def adaptive(threshold, votes_of, data, records, count):
    """Return the decisions on the worst examples against a defence, and those that are shown.

    The title states the number of images if it is not `count`, that of the oblivious attack.
    """
    with open_hdf5(records) as file:
        worst = file["worst"]
        names = ("network_prediction", "vote", "score")
        fewer = f", on {len(file['index']):,} of these images" if len(file["index"]) < count else ""
        images = AttackedImages(
            f"Adaptive worst case{fewer} (the attacker knows the defence)",
            votes_of,
            threshold,
            file["index"][:],
            file["labels"][:],
            *(worst[name][:] for name in names),
            file["undefended/clean"][:],
        )
        rows = chosen_rows(images)
        adversarial, similarity = (worst[name][as_slice(rows)] for name in ("adversarial", "similarity"))
    return images, _examples(data, images, rows, adversarial, similarity)


def _examples(data, images, rows, adversarial, similarity):
    """Return the examples of some rows, by row."""
    with open_hdf5(data) as file:
        clean = file["images"][as_slice(images.index[rows])]
    return dict(zip(rows.tolist(), map(Example, clean, adversarial, similarity), strict=True))
