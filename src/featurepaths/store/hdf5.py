"""HDF5 artefacts: written atomically, with a header that holds provenance and checksum."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from featurepaths.store.atomic import FAILED_WRITES, atomic, readable, unreadable
from featurepaths.store.header import line_of, read_header
from featurepaths.store.origin import Origin
from featurepaths.store.seal import FORMAT, read_on

SMALLEST_BLOCK = 512
"""Bytes of the smallest user block in front of an HDF5 file; the sizes of larger ones are powers of 2."""


@contextmanager
def create_hdf5(path: Path, origin: Origin) -> Iterator[h5py.File]:
    """Open a new HDF5 artefact for writing; it gets its name only when the block ends without an error.

    Its user block, in front of the part that HDF5 reads, holds a line of JSON (see `featurepaths.store.header`).
    """
    header = {"format": FORMAT, "origin": asdict(origin), "starts": 0, "length": 0, "checksum": ""}
    size = max(SMALLEST_BLOCK, 1 << (len(line_of(header)) + 63).bit_length())  # whatever the numbers will be
    with atomic(path) as temporary:
        # no lock: no other process knows the name, and some file systems support none
        with h5py.File(temporary, "w", userblock_size=size, locking=False) as file:
            yield file
        with temporary.open("r+b") as written:
            written.seek(size)
            length, checksum = read_on(written)
            written.seek(0)
            written.write(line_of({**header, "starts": size, "length": length, "checksum": checksum}))


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 artefact for reading.

    Raises
    ------
    FeaturePathsError
        If the file is missing, damaged, or not an artefact of this format.
    """
    with readable(path):
        with Path(path).open("rb") as raw:
            header = read_header(raw)
            raw.seek(header["starts"])
            length, checksum = read_on(raw)
        if (length, checksum) != (header["length"], header["checksum"]):
            raise ValueError(f"it is damaged: its checksum is {checksum}, not {header['checksum']}")
        file = h5py.File(path, "r", locking=False)  # files with their final name are never written to
    with file:
        try:
            yield file
        except (KeyError, OSError) as error:
            # other errors in the block, such as those of writing an output, do not concern this file
            if not _raised_in_h5py(error) or getattr(error, "errno", None) in FAILED_WRITES:
                raise
            raise unreadable(path, error) from error


class RowWriter:
    """Writes an artefact, or a shard of one, that holds rows of every image.

    The bytes of the file do not depend on how the rows are divided among calls.

    Parameters
    ----------
    file
        The artefact.
    rows
        Rows of the whole artefact that this file holds.
    complete
        Data sets of the whole artefact that are already complete, by name; this file's rows of them are written now.
    """

    def __init__(self, file: h5py.File, rows: slice, complete: Mapping[str, np.ndarray]):
        self.file, self.rows = file, rows
        for name, values in complete.items():
            file[name] = values[rows]

    def __call__(self, rows: slice, values: Mapping[str, np.ndarray]) -> None:
        """Write rows, numbered as in the whole artefact, of the data sets `values`, which the first call creates."""
        start, count = self.rows.start, self.rows.stop - self.rows.start
        for name, part in sorted(values.items()):
            if name not in self.file:
                self.file.create_dataset(name, (count, *part.shape[1:]), part.dtype)
            self.file[name][rows.start - start : rows.stop - start] = part


def as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Return adjacent rows as a slice, which HDF5 reads faster, and other rows as they are."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def layers_in(file: h5py.File) -> list[str]:
    """Return the names of the data sets ``layer1``, ``layer2``, ... of an artefact, in the layers' order."""
    return sorted((name for name in file if name.startswith("layer")), key=lambda name: int(name.removeprefix("layer")))


def _raised_in_h5py(error: BaseException) -> bool:
    *_, innermost = traceback.walk_tb(error.__traceback__)
    return innermost[0].f_globals.get("__name__", "").startswith("h5py")
