"""Arrays in npz and HDF5 files, read with checks against damaged and hostile files."""

import errno
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from featurepaths.data.images import PARTS, Rows, by, images_of, same_shape
from featurepaths.data.labels import labels_of, names_of
from featurepaths.data.splits import Parts
from featurepaths.errors import FeaturePathsError
from featurepaths.store.fingerprints import Contents, digest_of_names, look_at_files

GREATEST_COMPRESSION = 1100
"""Deflate, which npz and HDF5 use, makes nothing smaller by more than 1032 times."""
GREATEST_AT_ONCE = 2**30
"""Bytes of a single image, or of a chunk of HDF5, which is unpacked as a whole whatever is read of it."""
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What h5py and zipfile raise for files that are not whole, or that they cannot read."""


@dataclass(frozen=True)
class FileRows:
    """An array in a file; `name` says which one, for errors."""

    name: str
    source: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return tuple(self.source.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of its values."""
        return self.source.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        try:
            return self.source[_run(rows)]
        except UNREADABLE as error:
            raise FeaturePathsError(f"{self.name} cannot be read ({error}).") from error


@contextmanager
def open_arrays(path: Path | str) -> Iterator[zipfile.ZipFile | h5py.File]:
    """Open an npz or HDF5 file, to be passed to `array_in`.

    Raises
    ------
    FeaturePathsError
        If it is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FeaturePathsError(f"There is no file {path}.")
    with ExitStack() as stack:
        try:
            if zipfile.is_zipfile(path):
                opened = stack.enter_context(zipfile.ZipFile(path))
            else:
                opened = stack.enter_context(_open_hdf5(path))
        except UNREADABLE as error:
            raise FeaturePathsError(f"{path} is neither an npz nor an HDF5 file that can be read ({error}).") from error
        yield opened


def _open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, under its lock if the file system has locks."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # EAGAIN: somebody writes to it
            raise
        return h5py.File(path, "r", locking=False)


def array_in(opened: zipfile.ZipFile | h5py.File, names: tuple[str, ...]) -> FileRows:
    """Return the first of the arrays called `names` that an open file holds; `names` may be paths in HDF5.

    Raises
    ------
    FeaturePathsError
        If it holds none of them; if the array is one of objects, lies in another file, or cannot be whole.
    """
    try:
        held = _names_in(opened)
    except UNREADABLE as error:
        raise FeaturePathsError(f"{opened.filename} cannot be read ({error}).") from error
    for name in names:
        if name in held:
            array = FileRows(f"'{name}' in {opened.filename}", _open(opened, name))
            if array.dtype.kind not in "biuf":
                raise FeaturePathsError(f"{array.name} holds {array.dtype}; it should hold numbers.")
            return array
    raise FeaturePathsError(
        f"{opened.filename} has no array {' or '.join(map(repr, names))}; it has {', '.join(sorted(held)) or 'none'}."
    )


@contextmanager
def open_parts(
    files: Mapping[str, Path | str],
    keys: Mapping[str, str | None],
    layout: str | None,
    size: int | None,
    class_names: list[str] | None,
) -> Iterator[tuple[Parts, list[str]]]:
    """Open the images and labels of the training and the test part, and the names of the classes.

    Labels are read now, images later.

    Parameters
    ----------
    files
        The file of each part; both may be the same.
    keys
        What ``<part>_images`` and ``<part>_labels`` are called in their file. Where that is None or left out they are
        called so, or ``images`` and ``labels``.
    layout, size
        See `layout_of` and `ArrayImages`.
    class_names
        Their numbers if None.

    Raises
    ------
    FeaturePathsError
        If something is missing, or is not what it should be; values of images are looked at when they are read.
    """
    with ExitStack() as stack:
        opened = {part: stack.enter_context(open_arrays(files[part])) for part in PARTS}
        found = {}
        for part in PARTS:
            for what in ("images", "labels"):
                key = f"{part}_{what}"
                found[key] = array_in(opened[part], (keys[key],) if keys.get(key) else (key, what))
        if found["train_images"].name == found["test_images"].name:
            raise FeaturePathsError(f"{found['train_images'].name} would be both the training and the test images.")
        parts = {}
        for part in PARTS:
            images, labels = found[f"{part}_images"], found[f"{part}_labels"]
            of_part = images_of(images, images.name, layout, size)
            parts[part] = of_part, labels_of(labels, of_part, labels.name)
        same_shape(parts)
        yield parts, names_of({part: labels for part, (_, labels) in parts.items()}, class_names)


def contents_of_arrays(
    files: Mapping[str, Path | str],
    keys: Mapping[str, str | None],
    layout: str | None,
    size: int | None,
    class_names: list[str] | None,
    memory: Path | None = None,
) -> Contents:
    """Look at the files of `open_parts`, with the same arguments; `memory` is that of `contents.look_at_files`.

    Raises
    ------
    FeaturePathsError
        As `open_parts` does.
    """
    with open_parts(files, keys, layout, size, class_names) as (parts, names):
        images = sum(len(labels) for _, labels in parts.values())
        _, pixels, _, channels = parts["train"][0].shape

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        digest = digest_of_names({part: digests[str(files[part])] for part in PARTS})
        return asdict(Contents(digest, images, len(names), pixels, channels))

    by_path = {str(file): Path(file) for file in files.values()}
    return Contents(**look_at_files(by_path, summary, " and ".join(by_path), memory))


@dataclass(frozen=True)
class _Member:
    """An array in an npz file, read from its compressed stream."""

    stream: IO[bytes]
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            return self._read(rows.start, rows.stop - rows.start)
        return np.concatenate([self._read(int(row), 1) for row in rows])

    def _read(self, first: int, count: int) -> np.ndarray:
        of_one = self.dtype.itemsize * prod(self.shape[1:])
        self.stream.seek(self.start + first * of_one)
        content = self.stream.read(count * of_one)
        if len(content) < count * of_one:
            raise EOFError("it ends too early")
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


def _run(rows: np.ndarray) -> slice | np.ndarray:
    """Return adjacent rows as a slice, which is faster to read."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _names_in(opened: zipfile.ZipFile | h5py.File) -> set[str]:
    """Return the names of all arrays of a file, without following a link."""
    if isinstance(opened, zipfile.ZipFile):
        return {name.removesuffix(".npy") for name in opened.namelist() if name.endswith(".npy")}
    names = set()
    opened.visititems_links(lambda name, link: names.add(name))
    return names


def _open(opened: zipfile.ZipFile | h5py.File, name: str) -> Rows:
    where = f"'{name}' in {opened.filename}"
    try:
        return _open_member(opened, name) if isinstance(opened, zipfile.ZipFile) else _open_dataset(opened, name)
    except UNREADABLE as error:
        raise FeaturePathsError(f"{where} cannot be read ({error}).") from error


def _open_member(opened: zipfile.ZipFile, name: str) -> _Member:
    member = opened.getinfo(f"{name}.npy")
    stream = opened.open(member)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format {version} is not that of plain numbers")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not loaded because they may run anything")
    if fortran and len(shape) > 1:
        raise ValueError("it is stored by columns; store np.ascontiguousarray of it")
    _must_be_whole(member.file_size - stream.tell(), member.compress_size, shape, dtype)
    return _Member(stream, stream.tell(), shape, dtype)


def _open_dataset(opened: h5py.File, name: str) -> h5py.Dataset:
    found: Any = opened
    for part in name.split("/"):
        if not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise ValueError("it is a link; what counts has to lie in the file itself")
        found = found[part]
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.shape == ():
        raise ValueError("it is no array")
    if found.external or found.is_virtual:
        raise ValueError("its values lie in another file; they have to lie in this one")
    _must_be_whole(found.nbytes, found.id.get_storage_size(), found.shape, found.dtype)
    if found.chunks and found.dtype.itemsize * prod(found.chunks) > GREATEST_AT_ONCE:
        raise ValueError(f"its chunks of {by(found.chunks)} values are too large to be unpacked; store smaller ones")
    return found


def _must_be_whole(there: int, stored: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise ValueError if an array of this shape is not `there`, or is more than `stored` bytes can hold."""
    needed = dtype.itemsize * prod(map(int, shape))
    if there != needed or needed > GREATEST_COMPRESSION * stored:
        raise ValueError(f"its shape {tuple(shape)} is more than the file holds")
    if needed > GREATEST_AT_ONCE * int(shape[0]):
        raise ValueError(
            f"its shape {tuple(shape)} is that of images of more than {GREATEST_AT_ONCE / 2**30:g} GiB each"
        )
