"""Artefacts on disk: HDF5, JSON and safetensors that say what made them, are never half-written, and carry a checksum.

Every artefact carries its origin: a name within its run (``features/flatten/test``), the cumulative digest of its
recipe (see `featurepaths.digests`), the checksums of what its inputs contained, and the versions of all its ancestors.
Equal recipes give other bytes on another processor, so both are compared: a stage refuses inputs that do not belong
together, and the plan makes again what was made from other contents.

No file is parsed further before its checksum, CRC-32 as in zip files, was found right: it tells damage and not malice.
"""

import errno
import hashlib
import json
import os
import platform
import re
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError

FORMAT = 3
"""Version of the artefacts' layout; files of another version are refused."""
SMALLEST_BLOCK = 512
"""HDF5 lets a user have a block of so many bytes, or a power of 2 times as many, in front of a file."""
GREATEST_BLOCK = 2**20
AT_A_TIME = 2**24
"""Bytes of a file that are read at a time."""

FAILED_WRITES = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EACCES", "EPERM", "ENOTDIR", "EEXIST")
}
"""What the system says of writing, and never of reading a file that is open."""

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EAGAIN)
"""What `flock` says on a file system without locks, or where somebody else holds the lock."""

REMEDIES = {
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.ENFILE: "The machine has too many open files: close some.",
    errno.ENOMEM: "Give the job more memory.",
    errno.EACCES: "Grant yourself permission to read it and to enter its folders.",
    errno.EPERM: "Grant yourself permission to read it and to enter its folders.",
    errno.EISDIR: "A folder has its name: move that away.",
    **dict.fromkeys(NO_LOCKS, "HDF5 was told to lock files, which failed: unset HDF5_USE_FILE_LOCKING."),
}
"""What to do about an error of the system by its number; about any other, `CHECK_THE_DISK`."""
CHECK_THE_DISK = "Check the disk, or the connection to it."
NOT_OF_THE_SYSTEM = (None, errno.EINVAL)
"""Error numbers of files that are damaged: a position read from such a file may be invalid."""


@dataclass(frozen=True)
class Origin:
    """What made an artefact.

    Parameters
    ----------
    name
        Its name within its run, such as ``features/flatten/test``.
    digest
        The cumulative digest of its recipe.
    ancestors
        The version of each ancestor by its name with suffix, such as ``checkpoint.safetensors``: see `Version`.
    inputs
        The checksum of what each input contained, in the order of the stage's arguments.
    """

    name: str
    digest: str
    ancestors: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[str] = ()

    @property
    def key(self) -> str:
        """A digest of the recipe and of what the inputs contained: only work with the same one may be resumed."""
        return hashlib.sha256(json.dumps([self.digest, *self.inputs]).encode()).hexdigest()[:20]

    @property
    def pooling(self) -> str:
        """The pooling in the name of features and of what is made from them: ``flatten`` or ``mean``."""
        return self.name.split("/")[1]


class Version(NamedTuple):
    """What an artefact on the disk is: the origin that it states, and the CRC-32 of what it contains."""

    origin: Origin
    contents: str

    def __str__(self) -> str:
        return f"{self.origin.digest}.{self.contents}"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place only if the block ends without an error."""
    path = Path(path)
    # the suffix stays last: matplotlib and others choose the format by it
    temporary = path.with_name(f".{path.stem}.{_maker(os.getpid())}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except FeaturePathsError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number in (errno.ENOENT, None) and not path.parent.exists():  # HDF5 does not always say why
            number = errno.ENOENT
        elif number not in FAILED_WRITES and (number in NOT_OF_THE_SYSTEM or not _names(error, temporary)):
            raise  # something else failed, such as reading an input
        remedy = "Make room or mend the folder."
        if number not in (*FAILED_WRITES, errno.ENOENT):
            remedy = REMEDIES.get(number, CHECK_THE_DISK)
        raise FeaturePathsError(
            f"{path} cannot be written ({os.strerror(number)}). Nothing was left behind. {remedy} Then run again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that were killed left half-written below a folder."""
    for path in Path(folder).rglob(".*.partial*"):
        process = path.name.rpartition(".partial")[0].rpartition("-")[2]
        ours = process.isdecimal() and path.name.rpartition(".partial")[0].endswith(f".{_maker(int(process))}")
        if ours and not Path("/proc", process).exists():
            with suppress(OSError):
                path.unlink()


@contextmanager
def create_hdf5(path: Path, origin: Origin) -> Iterator[h5py.File]:
    """Open a new HDF5 artefact for writing; it appears under its name only when the block ends without an error.

    In front of what HDF5 reads, in the user block, lies a line of JSON (see `_Header`).
    """
    header = _Header(FORMAT, asdict(origin), 0, 0, "")
    with atomic(path) as temporary:
        # no lock: nobody else knows the name, and some file systems have none
        with h5py.File(temporary, "w", userblock_size=header.size, locking=False) as file:
            yield file
        with temporary.open("r+b") as written:
            written.seek(header.size)
            length, checksum = _read_on(written)
            written.seek(0)
            written.write(_Header(FORMAT, asdict(origin), header.size, length, checksum).line)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 artefact for reading.

    Raises
    ------
    FeaturePathsError
        If the file is missing, damaged, or not an artefact of this format.
    """
    try:
        with Path(path).open("rb") as raw:
            header = _read_header(raw)
            raw.seek(header.starts)
            length, checksum = _read_on(raw)
        if (length, checksum) != (header.length, header.checksum):
            raise ValueError(f"it is damaged: its checksum is {checksum}, not {header.checksum}")
        file = h5py.File(path, "r", locking=False)  # nobody writes to what has its final name
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise unreadable(path, error) from error
    with file:
        try:
            yield file
        except (KeyError, OSError) as error:
            # what else goes wrong meanwhile, such as writing an output, is not the file's fault
            if not _raised_in_h5py(error) or getattr(error, "errno", None) in FAILED_WRITES:
                raise
            raise unreadable(path, error) from error


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
    document = sealed({"format": FORMAT, **content, "origin": asdict(origin)})
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON artefact.

    Raises
    ------
    FeaturePathsError
        If the file is missing, damaged, or not an artefact of this format.
    """
    return _read_sealed(path)[0]


def _read_sealed(path: Path) -> tuple[dict[str, Any], str]:
    """Read a JSON artefact and its checksum."""
    try:
        return _unsealed(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error


def read_origin(path: Path) -> Origin:
    """Return what made the artefact at `path` (HDF5, JSON, or a checkpoint in safetensors).

    Of an HDF5 file or a checkpoint no more than that is read: it is not cut short, but the rest may be damaged.
    """
    return read_version(path).origin


def read_version(path: Path) -> Version:
    """Return what made the artefact at `path`, as `read_origin` does, and the checksum of what it contains."""
    return _version_in(*_description_of(path), path)


def read_description(path: Path) -> dict[str, Any]:
    """Return the description of a safetensors file that `featurepaths.tensors.write_tensors` wrote, and no tensor.

    Raises
    ------
    FeaturePathsError
        If the file is missing, cut short, or not one of this format.
    """
    return _read_description(path)[0]


def _read_description(path: Path) -> tuple[dict[str, Any], str]:
    """Read the description of a safetensors file, and its checksum, which covers that of the tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        Path(path).open("rb").close()  # safe_open says of every file that it cannot open that there is none
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("featurepaths")
        if text is None:
            raise ValueError("featurepaths did not write it")
        return _unsealed(text)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise unreadable(path, error) from error


def checksum_of(path: Path) -> str:
    """Return the CRC-32 of a file, eight hexadecimal digits."""
    with Path(path).open("rb") as file:
        return _read_on(file)[1]


def check_zip(path: Path) -> None:
    """Check the CRC-32 of everything in a zip file, such as torch saves, which torch itself passes over.

    Raises
    ------
    zipfile.BadZipFile
        If it is damaged, or no zip file.
    """
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


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
                    header = _read_header(raw)
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise unreadable(path, error) from error
            return asdict(header), header.checksum
        case ".safetensors":
            return _read_description(path)
        case _:
            return _read_sealed(path)


def _version_in(description: Mapping[str, Any], contents: str, path: Path) -> Version:
    try:
        origin = Origin(**description["origin"])
    except (KeyError, TypeError) as error:
        raise unreadable(path, f"it does not say what made it: {error!r}") from error
    return Version(replace(origin, inputs=tuple(origin.inputs)), contents)


def _error_number(error: Exception) -> int | None:
    """Return the system's number of an error; HDF5 and safetensors have errors of their own, with it in their words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\b(?:errno = |os error )(\d+)", str(error))
    return int(found[1]) if found else None


def _maker(process: int) -> str:
    """Return what tells a process from those of all machines that share the disk."""
    return f"{platform.node()}-{process}"


@dataclass(frozen=True)
class _Header:
    """The line in front of an HDF5 artefact: what made it, where HDF5's part starts, its length and its CRC-32."""

    format: int
    origin: Mapping[str, Any]
    starts: int
    length: int
    checksum: str

    @property
    def line(self) -> bytes:
        """JSON, with its own CRC-32 before it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{_checksum(text.encode())} {text}\n".encode()

    @property
    def size(self) -> int:
        """Bytes to leave for it, whatever the numbers will be."""
        size = SMALLEST_BLOCK
        while size < len(self.line) + 64:
            size *= 2
        return size


def _read_header(file: BinaryIO) -> _Header:
    """Read the header of an HDF5 artefact; ValueError if there is none that is whole and of this format."""
    line = file.readline(GREATEST_BLOCK)
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if checksum.decode("latin-1") != _checksum(text):
        raise ValueError(f"it is damaged, or no artefact of format {FORMAT}")
    found = json.loads(text)
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']}, not {FORMAT}")
    header = _Header(**found)
    if (length := os.fstat(file.fileno()).st_size - header.starts) != header.length:
        raise ValueError(f"it is cut short, or was added to: {length} bytes instead of {header.length}")
    return header


def _read_on(file: BinaryIO) -> tuple[int, str]:
    """Return how many bytes of a file are left, and their CRC-32."""
    length = checksum = 0
    while part := file.read(AT_A_TIME):
        length += len(part)
        checksum = zlib.crc32(part, checksum)
    return length, f"{checksum:08x}"


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the CRC-32 of what it says."""
    return {**document, "checksum": _checksum(json.dumps(document, sort_keys=True, allow_nan=False).encode())}


def _unsealed(text: str) -> tuple[dict[str, Any], str]:
    """Return the document that a text holds, and its checksum; ValueError if it is damaged or not of this format."""
    document = json.loads(text)
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError(f"it is no artefact of format {FORMAT}")
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']}, not {FORMAT}")
    found = document.pop("checksum", None)
    if found != sealed(document)["checksum"]:
        raise ValueError("it is damaged: its content does not have its checksum")
    return document, found


def _checksum(content: bytes) -> str:
    return f"{zlib.crc32(content):08x}"


def _raised_in_h5py(error: BaseException) -> bool:
    *_, innermost = traceback.walk_tb(error.__traceback__)
    return innermost[0].f_globals.get("__name__", "").startswith("h5py")


def _names(error: Exception, temporary: Path) -> bool:
    """Return whether an error is of a temporary file; HDF5 names no file when it cannot lock one."""
    return str(temporary) in str(error) or "unable to lock file" in str(error)


def may_be_whole(error: Exception) -> bool:
    """Return whether an error is the system's, such as too many open files, and says nothing of the file itself."""
    return _error_number(error) not in NOT_OF_THE_SYSTEM


def unreadable(path: Path, why: object) -> FeaturePathsError:
    """Return the error that says that an artefact cannot be read, why, and what to do.

    It advises to delete the file only if that is damaged or no artefact.
    """
    if isinstance(why, FileNotFoundError | NotADirectoryError):
        return FeaturePathsError(f"{path} does not exist. Run snakemake again to make it.")
    if not isinstance(why, Exception) or not may_be_whole(why):
        return FeaturePathsError(f"{path} cannot be read ({why}). Delete it, and run snakemake again to make it anew.")
    number = _error_number(why)
    return FeaturePathsError(
        f"{path} cannot be read ({os.strerror(number)}). {REMEDIES.get(number, CHECK_THE_DISK)} Then run snakemake "
        "again; the file itself may be whole, so keep it."
    )
