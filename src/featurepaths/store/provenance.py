"""Artefacts on disk: HDF5, JSON and safetensors that say what made them, are never half-written, and carry a checksum.

Every artefact carries its origin: a name within its run (``features/flatten/test``), the cumulative digest of its
recipe (see `featurepaths.store.code_digest`), the checksums of what its inputs contained, and the versions of all its
ancestors. Equal recipes give other bytes on another processor, so both are compared: a stage refuses inputs that do not
belong together, and the plan makes again what was made from other contents.

No file is parsed further before its checksum, CRC-32 as in zip files, was found right: it tells damage and not malice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from featurepaths.errors import FeaturePathsError
from featurepaths.store.atomic import unreadable
from featurepaths.store.hdf5 import read_header
from featurepaths.store.jsonfile import read_sealed
from featurepaths.store.origin import Origin, Version
from featurepaths.store.safetensors import read_sealed_description
from featurepaths.store.seal import checksum_of


def read_origin(path: Path) -> Origin:
    """Return what made the artefact at `path` (HDF5, JSON, or a checkpoint in safetensors).

    Of an HDF5 file or a checkpoint no more than that is read: it is not cut short, but the rest may be damaged.
    """
    return read_version(path).origin


def read_version(path: Path) -> Version:
    """Return what made the artefact at `path`, as `read_origin` does, and the checksum of what it contains."""
    return _version_in(*_description_of(path), path)


def check_files(path: Path) -> Version:
    """Check the files beside an artefact that it vouches for (``files``: checksums by their names); return its version.

    Raises
    ------
    FeaturePathsError
        If the artefact, or one of these files, is missing or damaged.
    """
    description, contents = _description_of(path)
    for name, checksum in description.get("files", {}).items():
        file = Path(path).with_name(name)
        try:
            if checksum_of(file) != checksum:
                raise ValueError(f"it is not the one that {path} was written with")
        except (OSError, ValueError) as error:
            raise unreadable(file, error) from error
    return _version_in(description, contents, path)


def descend(name: str, digest: str, inputs: Iterable[Path], strangers: Iterable[Path] = ()) -> Origin:
    """Return the origin of an artefact made from `inputs`.

    Parameters
    ----------
    name, digest
        Those of the artefact.
    inputs
        Artefacts of one run.
    strangers
        Inputs of another run, which come after them: their ancestors are none of the artefact's.

    Raises
    ------
    FeaturePathsError
        If two inputs descend from different versions of the same artefact, such as two checkpoints.
    """
    inputs = list(inputs)  # one may come twice
    versions = {path: read_version(path) for path in inputs}
    ancestors, seen_in = common_ancestors(versions)
    poolings = {ancestor: path for ancestor, path in seen_in.items() if ancestor.startswith("centroids/")}
    if len(poolings) > 1:
        raise FeaturePathsError(
            f"{' and '.join(map(str, poolings.values()))} do not belong together: they come from features of different "
            f"poolings ({', '.join(poolings)})."
        )
    contents = [version.contents for version in (*map(versions.get, inputs), *map(read_version, strangers))]
    return Origin(name, digest, ancestors, tuple(contents))


def common_ancestors(
    versions: Mapping[Path, Version], scope: Callable[[Path, str], str] = lambda path, ancestor: ancestor
) -> tuple[dict[str, str], dict[str, Path]]:
    """Return the versions of all ancestors of some artefacts, themselves included, and where each was first seen.

    Parameters
    ----------
    versions
        The artefacts by their paths.
    scope
        What an ancestor of the artefact at a path is called among those of several runs.

    Raises
    ------
    FeaturePathsError
        If two of them descend from different versions of one artefact.
    """
    ancestors: dict[str, str] = {}
    seen_in: dict[str, Path] = {}
    for path, version in versions.items():
        itself = f"{version.origin.name}{path.suffix}"  # a stage may write x.json and x.h5
        for name, found in {**version.origin.ancestors, itself: str(version)}.items():
            ancestor = scope(path, name)
            if ancestors.setdefault(ancestor, found) != found:
                raise FeaturePathsError(
                    f"{seen_in[ancestor]} and {path} do not belong together: they come from different versions of "
                    f"'{ancestor}' ({ancestors[ancestor]} and {found}). Run snakemake again: it makes the older one "
                    "again. A stage that is called by hand needs both from the same one."
                )
            seen_in.setdefault(ancestor, path)
    return ancestors, seen_in


def _description_of(path: Path) -> tuple[dict[str, Any], str]:
    """Return what an artefact says of itself, ``origin`` among it, and the checksum of what it contains."""
    match Path(path).suffix:
        case ".h5":
            try:
                with Path(path).open("rb") as raw:
                    header = read_header(raw)
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise unreadable(path, error) from error
            return asdict(header), header.checksum
        case ".safetensors":
            return read_sealed_description(path)
        case _:
            return read_sealed(path)


def _version_in(description: Mapping[str, Any], contents: str, path: Path) -> Version:
    try:
        origin = Origin(**description["origin"])
    except (KeyError, TypeError) as error:
        raise unreadable(path, f"it does not say what made it: {error!r}") from error
    return Version(replace(origin, inputs=tuple(origin.inputs)), contents)
