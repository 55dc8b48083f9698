"""Streamed classes: a network and the training images -> centroids (eq. 1) and collapse metrics, without feature dumps.

The network runs over the images twice: for the class means, then for the measurements against them. A killed stage
resumes from the sums that it saves every 45 seconds next to the centroids.
"""

from contextlib import ExitStack
from dataclasses import asdict

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.stages.network_inputs import load_network, open_images
from featurepaths.store.hdf5 import create_hdf5
from featurepaths.store.jsonfile import write_json


def main(arguments):
    from featurepaths.paths.stream import FeatureStream
    from featurepaths.runtime.devices import device_name
    from featurepaths.store.resume import ResumeFiles

    outputs = {
        kind: {output.names["pooling"]: output for output in cli.outputs_of(arguments, kind)}
        for kind in ("centroids", "collapse")
    }
    poolings = sorted(outputs["centroids"])
    if sorted(outputs["collapse"]) != poolings:
        raise FeaturePathsError("--centroids and --collapse need files of the same poolings.")
    named = {(kind, pooling): output for kind, by_pooling in outputs.items() for pooling, output in by_pooling.items()}
    origins = dict(zip(named, cli.origins_of(arguments, named.values()), strict=True))
    network, layers, device = load_network(arguments)
    first = poolings[0]
    saved = ResumeFiles(outputs["centroids"][first].path, origins["centroids", first].key, device_name(device))
    collapse = {}
    with ExitStack() as stack:
        files = {
            pooling: stack.enter_context(create_hdf5(output.path, origins["centroids", pooling]))
            for pooling, output in outputs["centroids"].items()
        }
        pixels, labels, _ = stack.enter_context(open_images(arguments.data, "train"))
        stream = FeatureStream(network, layers, pixels, poolings, device)
        for file in files.values():
            file["counts"] = np.bincount(labels, minlength=stream.classes)
            file.attrs["device"] = device_name(device)
        for number, keys in enumerate(stream.passes()):
            collapse |= measure(stream, keys, labels, files, saved, str(number))
    for pooling, output in outputs["collapse"].items():
        layers = [
            {"layer": key.layer, **metrics} for key, metrics in sorted(collapse.items()) if key.pooling == pooling
        ]
        write_json(output.path, {"layers": layers}, origins["collapse", pooling])
    saved.clear()


def measure(stream, keys, labels, files, saved, part):
    """Write the centroids of some layers, and return their collapse metrics; `part` names their resume files."""
    from featurepaths.paths.chunks import ClassSums
    from featurepaths.paths.collapse import CollapseMeter
    from featurepaths.paths.equations import centroids_of

    sums = {key: ClassSums(stream.classes, stream.widths[key]) for key in keys}
    accumulate_or_end(stream, sums, labels, "class means", saved, f"{part}/means.npz")
    meters = {}
    for key in keys:
        of_classes = sums.pop(key)
        means = of_classes.means()
        files[key.pooling][key.name] = centroids_of(means)
        meters[key] = CollapseMeter(means, of_classes.counts)
    accumulate_or_end(stream, meters, labels, "collapse metrics", saved, f"{part}/collapse.npz")
    return {key: asdict(meter.result()) for key, meter in meters.items()}


def accumulate_or_end(stream, accumulators, labels, label, saved, name):
    """Accumulate statistics of all images; end the stage here if a signal asked for it meanwhile."""
    with cli.stop_requests() as stop:
        stream.accumulate(accumulators, labels, label, saved, name, stop)
        if stop():
            cli.end_by(stop())


if __name__ == "__main__":
    cli.run("streamed_classes", main)
