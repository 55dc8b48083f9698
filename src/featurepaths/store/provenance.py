"""The provenance of artefacts: HDF5, JSON and safetensors files that state their origin and carry a checksum.

Every artefact carries its origin: a name within its run (``features/flatten/test``), the cumulative digest of its
recipe (see `featurepaths.store.code_digest`), the checksums of its inputs' contents, and the versions of all its
ancestors. Equal recipes yield other bytes on another processor, so both are compared: a stage rejects inputs that do
not belong together, and the plan recreates artefacts whose inputs have changed.

Every file's checksum, a CRC-32 as in zip files, is verified before the file is parsed. It detects damage, not malice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from featurepaths.errors import FeaturePathsError
from featurepaths.store.atomic import readable, unreadable
from featurepaths.store.header import read_header
from featurepaths.store.jsonfile import read_description, read_json
from featurepaths.store.origin import Origin, Version
from featurepaths.store.seal import checksum_of


def read_origin(path: Path) -> Origin:
    """Return the origin of the artefact at `path` (HDF5, JSON, or a checkpoint in safetensors).

    Of an HDF5 file or a checkpoint only the origin is read: the file is complete, but its content may be damaged.
    """
    return read_version(path).origin


def read_version(path: Path) -> Version:
    """Return the origin of the artefact at `path`, as `read_origin` does, and the checksum of its content."""
    return _version_in(_description_of(path), path)


def check_files(path: Path) -> Version:
    """Check the files next to an artefact whose checksums it records (``files``, by name); return its version.

    Raises
    ------
    FeaturePathsError
        If the artefact, or one of these files, is missing or damaged.
    """
    description = _description_of(path)
    for name, checksum in description.get("files", {}).items():
        file = Path(path).with_name(name)
        with readable(file):
            if checksum_of(file) != checksum:
                raise ValueError(f"it is not the file that {path} was written with")
    return _version_in(description, path)


def descend(
    name: str,
    digest: str,
    inputs: Iterable[Path],
    strangers: Iterable[Path] = (),
    version_of: Callable[[Path], Version] = read_version,
) -> Origin:
    """Return the origin of an artefact made from `inputs`.

    Parameters
    ----------
    name, digest
        Name and recipe digest of the artefact.
    inputs
        Artefacts of one run.
    strangers
        Inputs of another run, listed after the others; their ancestors do not become the artefact's.
    version_of
        Returns the version of an artefact, which a caller may have read already.

    Raises
    ------
    FeaturePathsError
        If two inputs descend from different versions of the same artefact, such as two checkpoints.
    """
    inputs = list(inputs)  # an input may be listed twice
    versions = {path: version_of(path) for path in inputs}
    ancestors, stated_by = common_ancestors(versions)
    poolings = {ancestor: path for ancestor, path in stated_by.items() if ancestor.startswith("centroids/")}
    if len(poolings) > 1:
        raise FeaturePathsError(
            f"{' and '.join(map(str, poolings.values()))} do not belong together: they come from features of different "
            f"poolings ({', '.join(poolings)})."
        )
    contents = [version.contents for version in (*map(versions.get, inputs), *map(version_of, strangers))]
    return Origin(name, digest, ancestors, tuple(contents))


def common_ancestors(
    versions: Mapping[Path, Version], scope: Callable[[Path, str], str] = lambda path, ancestor: ancestor
) -> tuple[dict[str, str], dict[str, Path]]:
    """Return the versions of all ancestors of artefacts, themselves included, and the first artefact that states each.

    Parameters
    ----------
    versions
        The artefacts by their paths.
    scope
        Returns the name of an ancestor of the artefact at a path that is unique among several runs.

    Raises
    ------
    FeaturePathsError
        If two of them descend from different versions of one artefact.
    """
    ancestors: dict[str, str] = {}
    stated_by: dict[str, Path] = {}
    for path, version in versions.items():
        itself = f"{version.origin.name}{path.suffix}"  # a stage may write both x.json and x.h5
        for name, ancestor_version in {**version.origin.ancestors, itself: str(version)}.items():
            ancestor = scope(path, name)
            if ancestors.setdefault(ancestor, ancestor_version) != ancestor_version:
                raise FeaturePathsError(
                    f"{stated_by[ancestor]} and {path} do not belong together: they come from different versions of "
                    f"'{ancestor}' ({ancestors[ancestor]} and {ancestor_version}). Run snakemake again: it recreates "
                    "the older one. A stage called by hand needs both from the same version."
                )
            stated_by.setdefault(ancestor, path)
    return ancestors, stated_by


def _description_of(path: Path) -> Mapping[str, Any]:
    """Return an artefact's description, which includes ``origin`` and the ``checksum`` of its content."""
    match Path(path).suffix:
        case ".h5":
            with readable(path), Path(path).open("rb") as raw:
                return read_header(raw)
        case ".safetensors":
            return read_description(path)
        case _:
            return read_json(path)


def _version_in(description: Mapping[str, Any], path: Path) -> Version:
    try:
        origin = Origin(**description["origin"])
    except (KeyError, TypeError) as error:
        raise unreadable(path, f"it does not state its origin: {error!r}") from error
    return Version(replace(origin, inputs=tuple(origin.inputs)), description["checksum"])
