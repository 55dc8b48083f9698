"""Gather: shards -> the artefacts of one job, byte for byte what that job makes when its work is not split."""

from contextlib import ExitStack
from dataclasses import replace

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.store.code_digest import artefact_digest
from featurepaths.store.hdf5 import RowWriter, create_hdf5, open_hdf5
from featurepaths.store.provenance import read_origin

WHOLE = ("labels", "index")
"""Written at once, before the rows; in this order, as the stages that make the artefacts do."""
ROWS = 64


def main(arguments):
    if arguments.digest is None:
        raise FeaturePathsError("--digest is needed: that of the job whose shards are gathered.")
    for artefact in arguments.artefacts:
        shards = [path for path in arguments.shards if path.parent == cli.shards_of(artefact)]
        gather(shards, artefact, arguments.digest)
    for artefact in arguments.artefacts:
        cli.remove_shards(artefact)


def gather(paths, artefact, digest):
    """Put the shards of an artefact together."""
    name, paths = in_order(paths, artefact, digest)
    origin = replace(origin_in_common(paths), name=name, digest=artefact_digest(digest, name))
    with ExitStack() as stack:
        shards = [stack.enter_context(open_hdf5(path)) for path in paths]
        columns = {name: np.concatenate([shard[name][:] for shard in shards]) for name in WHOLE}
        file = stack.enter_context(create_hdf5(artefact, origin))
        file.attrs.update(attributes(shards, artefact))
        write = RowWriter(file, slice(0, len(columns["labels"])), columns)
        start = 0
        for shard in shards:
            count, names = len(shard["labels"]), datasets(shard)
            for first in range(0, count, ROWS):
                rows = slice(first, min(first + ROWS, count))
                write(slice(start + rows.start, start + rows.stop), {name: shard[name][rows] for name in names})
            start += count


def in_order(paths, artefact, digest):
    """Return the name of the artefact and its shards by their numbers; all of them have to be there, and expected."""
    shards, names, counts = {}, set(), set()
    for path in paths:
        origin = read_origin(path)
        if origin.digest != artefact_digest(digest, origin.name):
            raise FeaturePathsError(
                f"{path} is not the shard that this run of the workflow expects. Delete it and run snakemake again."
            )
        name, _, item = origin.name.rpartition("/")
        number, count = cli.parse_shard(item) if "-of-" in item else (0, 0)
        shards[number] = path
        names.add(name)
        counts.add(count)
    complete = len(paths) == len(shards) and len(names) == 1 == len(counts)
    if not complete or sorted(shards) != list(range(1, counts.pop() + 1)):
        raise FeaturePathsError(
            f"These are not all shards of {artefact}, {cli.shards_of(artefact)}/I-of-N.h5, once each: "
            f"{', '.join(map(str, paths)) or 'none'}."
        )
    return names.pop(), [shards[number] for number in sorted(shards)]


def origin_in_common(paths):
    """Return the origin that shards have in common; FeaturePathsError if their inputs differ."""
    first, *others = map(read_origin, paths)
    for path, origin in zip(paths[1:], others, strict=True):
        if (origin.inputs, origin.ancestors) != (first.inputs, first.ancestors):
            raise FeaturePathsError(
                f"{paths[0]} and {path} do not belong together: they were made from inputs of other contents. Run "
                "snakemake again: it makes the older one again."
            )
    return first


def attributes(shards, artefact):
    """Return the attributes of how the shards were computed; only devices may differ."""
    stated = {name: sorted({str(shard.attrs[name]) for shard in shards}) for name in sorted(shards[0].attrs)}
    for name, values in stated.items():
        if name != "device" and len(values) > 1:
            raise FeaturePathsError(
                f"The shards of {artefact} were computed with different {name} ({', '.join(values)}). Delete them and "
                f"set {name} in the configuration, not to auto."
            )
    return {name: ", ".join(values) for name, values in stated.items()}


def datasets(file):
    """Return the paths of all data sets of a file but `WHOLE`."""
    names = []
    file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    return [name for name in names if name not in WHOLE]


if __name__ == "__main__":
    cli.run("gather", main)
