"""HDF5 artefacts: written atomically, with a header that holds provenance and checksum."""

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from featurepaths.store.atomic import FAILED_WRITES, atomic, unreadable
from featurepaths.store.origin import Origin
from featurepaths.store.seal import FORMAT, crc32, read_on

SMALLEST_BLOCK = 512
"""HDF5 lets a user have a block of so many bytes, or a power of 2 times as many, in front of a file."""
GREATEST_BLOCK = 2**20


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
            length, checksum = read_on(written)
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
            header = read_header(raw)
            raw.seek(header.starts)
            length, checksum = read_on(raw)
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
        return f"{crc32(text.encode())} {text}\n".encode()

    @property
    def size(self) -> int:
        """Bytes to leave for it, whatever the numbers will be."""
        size = SMALLEST_BLOCK
        while size < len(self.line) + 64:
            size *= 2
        return size


def read_header(file: BinaryIO) -> _Header:
    """Read the header of an HDF5 artefact; ValueError if there is none that is whole and of this format."""
    line = file.readline(GREATEST_BLOCK)
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if checksum.decode("latin-1") != crc32(text):
        raise ValueError(f"it is damaged, or no artefact of format {FORMAT}")
    found = json.loads(text)
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']}, not {FORMAT}")
    header = _Header(**found)
    if (length := os.fstat(file.fileno()).st_size - header.starts) != header.length:
        raise ValueError(f"it is cut short, or was added to: {length} bytes instead of {header.length}")
    return header


def _raised_in_h5py(error: BaseException) -> bool:
    *_, innermost = traceback.walk_tb(error.__traceback__)
    return innermost[0].f_globals.get("__name__", "").startswith("h5py")
