"""Artefacts on disk: HDF5 and JSON files that say what made them and are never half-written.

Every artefact carries its origin: a name within its run (``features/flatten/test``), the cumulative digest of what
made it (see `featurepaths.digests`), and the digests of all its ancestors, by which a stage tells whether its inputs
belong together.
"""

import errno
import json
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError

FORMAT = 1
"""Version of the artefacts' layout; files of another version are refused."""


FAILED_WRITES = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EACCES", "EPERM", "ENOTDIR", "EEXIST")
}
"""What the system says of writing, and never of reading a file that is open."""


@dataclass(frozen=True)
class Origin:
    """What made an artefact: its name, its cumulative digest, and its ancestors' digests by their names."""

    name: str
    digest: str
    ancestors: Mapping[str, str] = field(default_factory=dict)

    @property
    def pooling(self) -> str:
        """The pooling in the name of features and of what is made from them: ``flatten`` or ``mean``."""
        return self.name.split("/")[1]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place only if the block ends without an error."""
    path = Path(path)
    # the suffix stays last: matplotlib and others choose the format by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno not in FAILED_WRITES:  # an input was being read meanwhile
            raise
        raise FeaturePathsError(
            f"{path} cannot be written ({error.strerror or error}). Nothing was left behind; make room or mend the "
            "folder, and run again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def create_hdf5(path: Path, origin: Origin) -> Iterator[h5py.File]:
    """Open a new HDF5 artefact for writing; it appears under its name only when the block ends without an error."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        yield file
        file.attrs["format"] = FORMAT
        file.attrs["name"] = origin.name
        file.attrs["digest"] = origin.digest
        file.attrs["ancestors"] = json.dumps(dict(origin.ancestors), sort_keys=True)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 artefact for reading.

    Raises
    ------
    FeaturePathsError
        If the file is missing, is not a readable HDF5 file, or is not an artefact of this format.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        if file.attrs.get("format") != FORMAT:
            raise _unreadable(path, f"its format is {file.attrs.get('format')}, not {FORMAT}")
        try:
            yield file
        except (KeyError, OSError) as error:
            # what else goes wrong meanwhile, such as writing an output, is not the file's fault
            if not _raised_in_h5py(error) or getattr(error, "errno", None) in FAILED_WRITES:
                raise
            raise _unreadable(path, error) from error


def write_rows(file: h5py.File, rows: slice, count: int, values: Mapping[str, np.ndarray]) -> None:
    """Write some rows of data sets that have `count` rows in the end; the first call makes them, by their names.

    The file is the same to the byte however the rows are cut.
    """
    for name, part in sorted(values.items()):
        if name not in file:
            file.create_dataset(name, (count, *part.shape[1:]), part.dtype)
        file[name][rows] = part


class RowWriter:
    """Fills an artefact, or a shard of one, that holds something of every image.

    Parameters
    ----------
    file
        The artefact.
    rows
        Which rows of the whole artefact this file holds.
    known
        Data sets of the whole, by name, that are written at once.
    """

    def __init__(self, file: h5py.File, rows: slice, known: Mapping[str, np.ndarray]):
        self.file, self.rows = file, rows
        for name, values in known.items():
            file[name] = values[rows]

    def __call__(self, rows: slice, values: Mapping[str, np.ndarray]) -> None:
        """Write some rows, numbered as in the whole artefact."""
        start, stop = self.rows.start, self.rows.stop
        write_rows(self.file, slice(rows.start - start, rows.stop - start), stop - start, values)


def layers_in(file: h5py.File) -> list[str]:
    """Return the names of the data sets ``layer1``, ``layer2``, ... of an artefact, in the layers' order."""
    return sorted((name for name in file if name.startswith("layer")), key=lambda name: int(name.removeprefix("layer")))


def write_json(path: Path, content: Mapping[str, Any], origin: Origin) -> None:
    """Write a JSON artefact: `content` and, under `origin`, what made it. NaN and infinity are refused."""
    document = {"format": FORMAT, **content, "origin": asdict(origin)}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON artefact.

    Raises
    ------
    FeaturePathsError
        If the file is missing, is not JSON, or is not an artefact of this format.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or "origin" not in document:
        raise _unreadable(path, f"it is not an artefact of format {FORMAT}")
    return document


def read_origin(path: Path) -> Origin:
    """Return what made the artefact at `path` (HDF5, JSON, or a checkpoint in safetensors)."""
    try:
        match Path(path).suffix:
            case ".h5":
                with open_hdf5(path) as file:
                    return Origin(file.attrs["name"], file.attrs["digest"], json.loads(file.attrs["ancestors"]))
            case ".safetensors":
                return Origin(**read_checkpoint_metadata(path)["origin"])
            case _:
                return Origin(**read_json(path)["origin"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, f"it does not say what made it: {error!r}") from error


def read_checkpoint_metadata(path: Path) -> dict[str, Any]:
    """Return the description stored in a checkpoint (architecture, normalisation, layers, origin), not its weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["featurepaths"])
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    except (KeyError, ValueError) as error:
        raise _unreadable(path, "it carries no featurepaths metadata") from error


def descend(name: str, digest: str, inputs: Iterable[Path]) -> Origin:
    """Return the origin of an artefact made from `inputs`.

    Raises
    ------
    FeaturePathsError
        If two inputs descend from different versions of the same artefact, such as two checkpoints.
    """
    ancestors: dict[str, str] = {}
    seen_in: dict[str, Path] = {}
    for path in inputs:
        origin = read_origin(path)
        for ancestor, found in {**origin.ancestors, origin.name: origin.digest}.items():
            if ancestors.setdefault(ancestor, found) != found:
                raise FeaturePathsError(
                    f"{seen_in[ancestor]} and {path} do not belong together: they come from different versions of "
                    f"'{ancestor}' ({ancestors[ancestor]} and {found}). Make both again from the same one."
                )
            seen_in.setdefault(ancestor, path)
    poolings = {ancestor: path for ancestor, path in seen_in.items() if ancestor.startswith("centroids/")}
    if len(poolings) > 1:
        raise FeaturePathsError(
            f"{' and '.join(map(str, poolings.values()))} do not belong together: they come from features of different "
            f"poolings ({', '.join(poolings)})."
        )
    return Origin(name, digest, ancestors)


def _raised_in_h5py(error: BaseException) -> bool:
    *_, innermost = traceback.walk_tb(error.__traceback__)
    return innermost[0].f_globals.get("__name__", "").startswith("h5py")


def _unreadable(path: Path, why: object) -> FeaturePathsError:
    what = f"cannot be read ({why})" if Path(path).exists() else "does not exist"
    return FeaturePathsError(f"{path} {what}. Delete it if it is there, and run snakemake again to make it anew.")
