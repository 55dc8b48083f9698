"""Gather: shards -> the artefacts of one job, byte for byte what that job makes when its work is not split."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli
from featurepaths.store.code_digest import artefact_digest
from featurepaths.store.hdf5 import RowWriter, create_hdf5, open_hdf5
from featurepaths.store.provenance import read_origin

KNOWN = ("labels", "index")
"""Written at once, before the rows; in this order, as the stages that make the artefacts do."""


def main(arguments):
    if arguments.digest is None:
        raise FeaturePathsError("--digest is needed: that of the job whose shards are gathered.")
    for artefact in arguments.artefacts:
        gather(
            [path for path in arguments.shards if path.parent == cli.shards_of(artefact)],
            artefact,
            arguments.digest,
        )
    for artefact in arguments.artefacts:
        cli.remove_shards(artefact)


def gather(paths, artefact, digest):
    """Put the shards of an artefact together."""
    name, paths = in_order(paths, artefact, digest)
    origin = replace(origin_in_common(paths), name=name, digest=artefact_digest(digest, name))
    with ExitStack() as stack:
        shards = [stack.enter_context(open_hdf5(path)) for path in paths]
        known = {name: np.concatenate([shard[name][:] for shard in shards]) for name in KNOWN}
        with create_hdf5(artefact, origin) as file:
            for attribute, value in attributes(shards, artefact).items():
                file.attrs[attribute] = value
            write = RowWriter(file, slice(0, len(known["labels"])), known)
            start = 0
            for shard in shards:
                count, names = len(shard["labels"]), datasets(shard)
                for rows in pieces(count):
                    moved = slice(start + rows.start, start + rows.stop)
                    write(moved, {name: shard[name][rows] for name in names})
                start += count


def in_order(paths, artefact, digest):
    """Return the name of the artefact and its shards by their numbers; all of them have to be there, and expected."""
    found, names, counts = {}, set(), set()
    for path in paths:
        origin = read_origin(path)
        if origin.digest != artefact_digest(digest, origin.name):
            raise FeaturePathsError(
                f"{path} is not the shard that this run of the workflow expects. Delete it and run snakemake again."
            )
        name, _, item = origin.name.rpartition("/")
        number, count = cli.parse_shard(item) if "-of-" in item else (0, 0)
        found[number] = path
        names.add(name)
        counts.add(count)
    if (
        len(paths) != len(found)
        or len(names) != 1
        or {frozenset(range(1, n + 1)) for n in counts} != {frozenset(found)}
    ):
        raise FeaturePathsError(
            f"These are not all shards of {artefact}, {cli.shards_of(artefact)}/I-of-N.h5, once each: "
            f"{', '.join(map(str, paths)) or 'none'}."
        )
    return names.pop(), [found[number] for number in sorted(found)]


def origin_in_common(paths):
    """Return the origin of some shards but for what tells them apart; FeaturePathsError if their inputs differ."""
    first, *others = map(read_origin, paths)
    for path, origin in zip(paths[1:], others, strict=True):
        if (origin.inputs, origin.ancestors) != (first.inputs, first.ancestors):
            raise FeaturePathsError(
                f"{paths[0]} and {path} do not belong together: they were made from inputs of other contents. Run "
                "snakemake again: it makes the older one again."
            )
    return first


def attributes(shards: list[h5py.File], artefact: Path) -> dict[str, str]:
    """Return what the shards say of how they were computed; only devices may differ."""
    said = {name: sorted({str(shard.attrs[name]) for shard in shards}) for name in sorted(shards[0].attrs)}
    for name, values in said.items():
        if name != "device" and len(values) > 1:
            raise FeaturePathsError(
                f"The shards of {artefact} were computed with different {name} ({', '.join(values)}). Delete them and "
                f"set {name} in the configuration, not to auto."
            )
    return {name: ", ".join(values) for name, values in said.items()}


def datasets(file: h5py.File) -> list[str]:
    """Return the paths of all data sets of a file but `KNOWN`."""
    found = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    return [name for name in found if name not in KNOWN]


def pieces(count: int, size: int = 64) -> Iterator[slice]:
    """Yield `count` rows in pieces that fit into memory."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


if __name__ == "__main__":
    cli.run("gather", main)
