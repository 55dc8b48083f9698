"""Recognition: frozen defences and feature paths of test images -> the method's labels and how many are right.

Besides the selected layers it tries the combinations of Table 3, under both tie rules. McNemar's test compares the
undefended network (`first`) with the whole method (`second`) on the same clean and on the same adversarial images.
"""

from itertools import combinations

import numpy as np

from featurepaths.defense.recognition import TIE_BREAKS, layer_accuracy, middle_layers, vote
from featurepaths.detectors.thresholds import read_feature_path_detector
from featurepaths.errors import FeaturePathsError
from featurepaths.networks.chance import chance_in
from featurepaths.paths.equations import weights_of
from featurepaths.paths.records import open_pair
from featurepaths.stages import cli
from featurepaths.statistics.groups import groups_of
from featurepaths.statistics.outcome import recognise_pair
from featurepaths.statistics.paired import mcnemar
from featurepaths.store.hdf5 import create_hdf5
from featurepaths.store.jsonfile import read_json, write_json


def main(arguments):
    settings = arguments.settings
    origin = cli.origin_of(arguments, cli.output_of(arguments))
    protocols = {}
    with open_pair(arguments.clean, arguments.adversarial) as pair, create_hdf5(arguments.records, origin) as file:
        clean, adversarial = pair
        file["index"] = clean.index
        file["labels"] = clean.labels
        file["network_clean"] = clean.network_predictions
        file["network_adversarial"] = adversarial.network_predictions
        for threshold, selection in zip(arguments.thresholds, arguments.selections, strict=True):
            detector, voters = read_feature_path_detector(threshold), read_json(selection)
            if detector.protocol != voters["protocol"]:
                raise FeaturePathsError(f"{threshold} and {selection} are of different protocols.")
            group = file.create_group(detector.protocol)
            protocols[detector.protocol] = evaluate(settings, detector, voters, clean, adversarial, group)
        content = {
            "n": len(clean.labels),
            **groups_of(clean.network_correct, adversarial.network_correct).counts,
            "network": {
                "clean_correct": int(clean.network_correct.sum()),
                "adversarial_correct": int(adversarial.network_correct.sum()),
            },
            "layer_accuracy": {
                "clean": layer_accuracy(clean).tolist(),
                "adversarial": layer_accuracy(adversarial).tolist(),
            },
            "protocols": protocols,
        }
    write_json(arguments.metrics, content, origin)
    if warning := chance_in(clean.network_correct, clean.labels):
        print(f"Warning: {warning}")


def evaluate(settings, detector, voters, clean, adversarial, group):
    """Return the counts of one protocol's defence, and write each image's label to `group`."""
    pair = clean, adversarial
    scores, count = [detector.score(paths) for paths in pair], clean.similarity.shape[1]
    selected = votes(pair, voters["layers"], np.array(voters["weights"]), settings.tie_break)
    group["clean_vote"], group["adversarial_vote"] = selected
    combined = {
        (tuple(layers), tie_break): votes(pair, layers, weights_of("equal", len(layers)), tie_break)
        for layers in subsets(middle_layers(count) if settings.combinations == "auto" else settings.combinations)
        for tie_break in TIE_BREAKS
    }
    outcomes, others = [], []
    for method, threshold in detector.thresholds.items():
        flagged = tuple(score < threshold for score in scores)
        *labels, outcome = recognise_pair(*pair, flagged, selected)
        group[f"{method}/clean"], group[f"{method}/adversarial"] = labels
        compared = {
            name: mcnemar(paths.network_correct, predicted == paths.labels)
            for name, paths, predicted in zip(("clean", "adversarial"), pair, labels, strict=True)
        }
        outcomes.append({"threshold_method": method, **outcome, "mcnemar": compared})
        for (layers, tie_break), voted in combined.items():
            *_, outcome = recognise_pair(*pair, flagged, voted)
            others.append({"threshold_method": method, "layers": list(layers), "tie_break": tie_break, **outcome})
    return {"layers": voters["layers"], "tie_break": settings.tie_break, "outcomes": outcomes, "combinations": others}


def votes(pair, layers, weights, tie_break):
    """Return the vote on each clean and each adversarial image."""
    return tuple(paths.map_rows(lambda similarity: vote(similarity, layers, weights, tie_break)) for paths in pair)


def subsets(layers):
    """Return every subset of two or more layers, small ones first."""
    return [list(subset) for size in range(2, len(layers) + 1) for subset in combinations(layers, size)]


if __name__ == "__main__":
    cli.run("recognition", main)
