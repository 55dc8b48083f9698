"""Worst case: every attack of an attacker who knows the defence -> robustness of network, defence and detectors."""

from featurepaths.detectors.thresholds import thresholds_in
from featurepaths.stages import cli
from featurepaths.statistics.evaluation import summarise
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json, write_json


def main(arguments):
    origin = cli.origin_of(arguments, cli.output_of(arguments))
    thresholds = read_json(arguments.threshold)["thresholds"]
    with open_hdf5(arguments.adaptive) as file, open_hdf5(arguments.detectors) as calibrated:
        of_detectors = {name: thresholds_in(group) for name, group in calibrated.items()}
        content = summarise(file, arguments.settings, "otsu", thresholds, of_detectors)
    write_json(arguments.metrics, content, origin)


if __name__ == "__main__":
    cli.run("worst_case", main)
