"""Arrays in npz and HDF5 files, read with checks against damaged and hostile files."""

import errno
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featurepaths.data.images import by, checked_names, images_of, labels_of
from featurepaths.data.size import Contents, DataSize
from featurepaths.data.splits import PARTS, Parts
from featurepaths.errors import FeaturePathsError, reported
from featurepaths.store.fingerprints import digest_of_names, look_at_files
from featurepaths.store.hdf5 import as_slice

GREATEST_COMPRESSION = 1100
"""Ratio of sizes; deflate, which npz and HDF5 use, reaches at most 1032."""
GREATEST_AT_ONCE = 2**30
"""Bytes of a single image, or of an HDF5 chunk, which is always unpacked as a whole."""
UNREADABLE = OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error
"""Errors that h5py and zipfile raise for files that are damaged or in a format they do not support."""


@dataclass(frozen=True)
class FileRows:
    """An array in a file, called `name` in errors."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[np.ndarray], np.ndarray]
    """Returns ascending rows."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        with reported(f"{self.name} cannot be read", *UNREADABLE):
            return self.read(rows)


@contextmanager
def open_arrays(path: Path | str) -> Iterator[zipfile.ZipFile | h5py.File]:
    """Open an npz or HDF5 file for `array_in`.

    Raises
    ------
    FeaturePathsError
        If the file does not exist or has another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FeaturePathsError(f"There is no file {path}.")
    with reported(f"{path} is neither an npz nor an HDF5 file that can be read", *UNREADABLE):
        opened = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else _open_hdf5(path)
    with opened:
        yield opened


def _open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, with a lock if the file system supports locks."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # EAGAIN: another process is writing to it
            raise
        return h5py.File(path, "r", locking=False)


def array_in(opened: zipfile.ZipFile | h5py.File, names: tuple[str, ...]) -> FileRows:
    """Return the first array in an open file that has one of `names`, which may be paths in HDF5.

    Raises
    ------
    FeaturePathsError
        If the file has none of them, or the array holds objects, lies in another file, or is damaged.
    """
    is_zip = isinstance(opened, zipfile.ZipFile)
    existing: set[str] = set()
    with reported(f"{opened.filename} cannot be read", *UNREADABLE):
        if is_zip:
            existing = {name.removesuffix(".npy") for name in opened.namelist() if name.endswith(".npy")}
        else:
            opened.visititems_links(lambda name, link: existing.add(name))  # without following links
    name = next((name for name in names if name in existing), None)
    if name is None:
        raise FeaturePathsError(
            f"{opened.filename} has no array {' or '.join(map(repr, names))}; "
            f"it has {', '.join(sorted(existing)) or 'none'}."
        )
    label = f"'{name}' in {opened.filename}"
    with reported(f"{label} cannot be read", *UNREADABLE):
        array = (_open_member if is_zip else _open_dataset)(opened, name, label)
    if array.dtype.kind not in "biuf":
        raise FeaturePathsError(f"{label} holds {array.dtype}; it should hold numbers.")
    return array


@contextmanager
def open_parts(
    files: Mapping[str, Path | str],
    keys: Mapping[str, str | None],
    layout: str | None,
    size: int | None,
    class_names: list[str] | None,
) -> Iterator[tuple[Parts, list[str]]]:
    """Open the training and test images, read their labels, and return them with the class names.

    Parameters
    ----------
    files
        The file of each part; both parts may share one.
    keys
        Array names for ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``. If one is None or
        omitted, the array is called that, or ``images`` or ``labels``.
    layout, size
        See `featurepaths.data.images.layout_of` and `ArrayImages`.
    class_names
        The classes' numbers if None.

    Raises
    ------
    FeaturePathsError
        If an array is missing or invalid; values of images are checked when they are read.
    """

    def array(opened: zipfile.ZipFile | h5py.File, part: str, kind: str) -> FileRows:
        key = f"{part}_{kind}"
        return array_in(opened, (keys[key],) if keys.get(key) else (key, kind))

    parts = {}
    with ExitStack() as stack:
        for part in PARTS:
            opened = stack.enter_context(open_arrays(files[part]))
            pixels, labels = (array(opened, part, kind) for kind in ("images", "labels"))
            images = images_of(pixels, pixels.name, layout, size)
            parts[part] = images, labels_of(labels, images, labels.name)
        if parts["train"][0].name == (name := parts["test"][0].name):
            raise FeaturePathsError(f"{name} would be both the training and the test images.")
        if all(labels.min() == 1 for _, labels in parts.values()):
            raise FeaturePathsError(f"{labels.name}: no label is 0; store labels - 1, so that the first class is 0.")
        yield parts, checked_names(parts, class_names)


def contents_of_arrays(files: Mapping[str, Path | str], *options: Any, memory: Path | None = None) -> Contents:
    """Return size and digest of the files of `open_parts`, whose further arguments are `options`.

    `memory` is that of `featurepaths.store.fingerprints.look_at_files`.

    Raises
    ------
    FeaturePathsError
        As `open_parts` does.
    """
    with open_parts(files, *options) as (parts, names):
        count = sum(len(labels) for _, labels in parts.values())
        size = DataSize(count, len(names), *parts["train"][0].shape[1:])
    by_path = {str(file): Path(file) for file in files.values()}

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        return {**asdict(size), "digest": digest_of_names({part: digests[str(files[part])] for part in PARTS})}

    return Contents(**look_at_files(by_path, summary, " and ".join(by_path), memory))


def _open_member(opened: zipfile.ZipFile, name: str, label: str) -> FileRows:
    """Open an array of an npz file, which is read from its compressed stream without loading it whole."""
    member = opened.getinfo(f"{name}.npy")
    stream = opened.open(member)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its npy format {version} is not supported; save it again with np.savez")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not loaded because they may run anything")
    if fortran and len(shape) > 1:
        raise ValueError("it is stored by columns; store np.ascontiguousarray of it")
    start, values_per_row = stream.tell(), prod(shape[1:])
    _check_size(member.file_size - start, member.compress_size, shape, dtype)

    def read(rows: np.ndarray) -> np.ndarray:
        parts = []
        for adjacent in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            count = len(adjacent) * values_per_row
            stream.seek(start + int(adjacent[0]) * values_per_row * dtype.itemsize)
            parts.append(np.frombuffer(stream.read(count * dtype.itemsize), dtype, count))
        return np.concatenate(parts).reshape(len(rows), *shape[1:])

    return FileRows(label, shape, dtype, read)


def _open_dataset(opened: h5py.File, name: str, label: str) -> FileRows:
    dataset: Any = opened
    for part in name.split("/"):
        if not isinstance(dataset.get(part, getlink=True), h5py.HardLink):
            raise ValueError("it is a link; the array must be in the file itself")
        dataset = dataset[part]
    if not isinstance(dataset, h5py.Dataset) or not dataset.shape:
        raise ValueError("it is no array")
    if dataset.external or dataset.is_virtual:
        raise ValueError("its values lie in another file; store them in this one")
    _check_size(dataset.nbytes, dataset.id.get_storage_size(), dataset.shape, dataset.dtype)
    if dataset.chunks and dataset.dtype.itemsize * prod(dataset.chunks) > GREATEST_AT_ONCE:
        raise ValueError(f"its chunks of {by(dataset.chunks)} values are too large to be unpacked; store smaller ones")
    return FileRows(label, dataset.shape, dataset.dtype, lambda rows: dataset[as_slice(rows)])


def _check_size(nbytes: int, stored: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise ValueError if `nbytes` is not the size of an array of this shape, or `stored` bytes cannot hold it."""
    needed = dtype.itemsize * prod(map(int, shape))
    if nbytes != needed or needed > GREATEST_COMPRESSION * stored:
        raise ValueError(f"its shape {tuple(shape)} is more than the file holds")
    if needed > GREATEST_AT_ONCE * int(shape[0]):
        raise ValueError(
            f"its shape {tuple(shape)} is that of images of more than {GREATEST_AT_ONCE / 2**30:g} GiB each"
        )
