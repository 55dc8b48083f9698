"""Gather: shards -> the artefacts of one job, byte for byte what that job makes when its work is not split."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from featurepaths.digests import artefact_digest
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import command
from featurepaths.storage import RowWriter, create_hdf5, open_hdf5, read_origin

KNOWN = ("labels", "index")
"""Written at once, before the rows; in this order, as the stages that make the artefacts do."""


def main(arguments):
    for artefact in arguments.artefacts:
        gather(
            [path for path in arguments.shards if path.parent == artefact.with_suffix("")], artefact, arguments.digest
        )


def gather(paths, artefact, digest):
    """Put the shards of an artefact together."""
    if not paths:
        raise FeaturePathsError(
            f"No shard of {artefact} was given: they are called {artefact.with_suffix('')}/I-of-N.h5."
        )
    origin = read_origin(paths[0])
    for path in paths:
        if read_origin(path) != origin:
            raise FeaturePathsError(
                f"{paths[0]} and {path} are not shards of the same artefact. Delete them and run again."
            )
    if digest is not None and artefact_digest(digest, origin.name) != origin.digest:
        raise FeaturePathsError(
            f"The shards of {artefact} are not those that this run of the workflow expects. Delete them and run again."
        )
    with ExitStack() as stack:
        shards = in_order({path: stack.enter_context(open_hdf5(path)) for path in paths}, artefact)
        known = {name: np.concatenate([shard[name][:] for shard in shards]) for name in KNOWN}
        with create_hdf5(artefact, origin) as file:
            for name in sorted(shards[0].attrs.keys() - {"shard", "format", "name", "digest", "ancestors"}):
                file.attrs[name] = shards[0].attrs[name]
            write = RowWriter(file, slice(0, len(known["labels"])), known)
            start = 0
            for shard in shards:
                count = len(shard["labels"])
                for rows in pieces(count):
                    moved = slice(start + rows.start, start + rows.stop)
                    write(moved, {name: shard[name][rows] for name in datasets(shard)})
                start += count


def in_order(files: dict[Path, h5py.File], artefact: Path) -> list[h5py.File]:
    """Return shards by their numbers; all of them have to be there."""
    numbered = {int(file.attrs["shard"][0]): file for file in files.values()}
    expected = {int(file.attrs["shard"][1]) for file in files.values()}
    if len(expected) != 1 or sorted(numbered) != list(range(1, *(count + 1 for count in expected))):
        raise FeaturePathsError(f"These are not all shards of {artefact}, once each: {', '.join(map(str, files))}.")
    return [numbered[number] for number in sorted(numbered)]


def datasets(file: h5py.File) -> list[str]:
    """Return the paths of all data sets of a file but `KNOWN`."""
    found = []
    file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
    return [name for name in found if name not in KNOWN]


def pieces(count: int, size: int = 64) -> Iterator[slice]:
    """Yield `count` rows in pieces that fit into memory."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def parser():
    made = command.parser(__doc__)
    files = {"nargs": "+", "type": Path, "required": True}
    made.add_argument("--shards", **files, metavar="ARTEFACT/I-of-N.h5", help="all shards of all artefacts")
    made.add_argument("--artefacts", **files, metavar="ARTEFACT.h5", help="the artefacts to write")
    return made


if __name__ == "__main__":
    command.run(main, parser())
