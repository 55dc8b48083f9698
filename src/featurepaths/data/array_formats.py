"""Formats of arrays in files: npy, npz, HDF5, MATLAB 7.3, torch.save; guarded against damaged and hostile files."""

import errno
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np

from featurepaths.data.images import by
from featurepaths.errors import FeaturePathsError, reported
from featurepaths.store.file_kinds import kind_of
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


class ArrayFile(NamedTuple):
    """An open file, the names of its arrays, and a function that opens one: of its name, and of its name in errors.

    The single array of a file without names is called ``""``.
    """

    path: str
    names: Collection[str]
    open_array: Callable[[str, str], FileRows]


@contextmanager
def open_arrays(path: Path | str) -> Iterator[ArrayFile]:
    """Open a file for `array_in`: npy, npz, HDF5 (also MATLAB 7.3), or one that `torch.save` wrote.

    Raises
    ------
    FeaturePathsError
        If the file does not exist, is damaged, or has another format, with what converts it.
    """
    path = Path(path)
    if not path.exists():
        raise FeaturePathsError(f"There is no file {path}.")
    with ExitStack() as stack:
        with reported(f"{path} cannot be read", *UNREADABLE):
            opened = None if path.is_dir() else _opened(path, stack)
        if opened is None:
            kinds = tomllib.loads(files(__package__).joinpath("kinds/files.toml").read_text(encoding="utf-8"))["kinds"]
            raise FeaturePathsError(f"{path} is {kind_of(path, kinds)}")
        yield opened


def array_in(opened: ArrayFile, names: tuple[str, ...]) -> FileRows:
    """Return the first array in an open file that has one of `names`, which may be paths in HDF5.

    Raises
    ------
    FeaturePathsError
        If the file has none of them, or the array holds objects, lies in another file, or is damaged.
    """
    name = next((name for name in ("", *names) if name in opened.names), None)
    if name is None:
        raise FeaturePathsError(
            f"{opened.path} has no array {' or '.join(map(repr, names))}; "
            f"it has {', '.join(sorted(opened.names)) or 'none'}."
        )
    label = f"'{name}' in {opened.path}" if name else opened.path
    with reported(f"{label} cannot be read", *UNREADABLE):
        array = opened.open_array(name, label)
    if array.dtype.kind not in "biuf":
        raise FeaturePathsError(f"{label} holds {array.dtype}; it should hold numbers.")
    return array


def _opened(path: Path, stack: ExitStack) -> ArrayFile | None:
    """Return an open file, which the stack closes; None for a file of another format."""
    if h5py.is_hdf5(path):
        hdf5, names = stack.enter_context(_open_hdf5(path)), []
        hdf5.visititems_links(lambda name, link: names.append(name))  # without following links
        return ArrayFile(str(path), names, partial(_open_dataset, hdf5))
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = archive.namelist()
        if any(name.endswith("/data.pkl") for name in names):
            from featurepaths.data.torch_files import tensors_in  # takes seconds, and planning is free of torch

            tensors = tensors_in(path)
            return ArrayFile(str(path), tensors, partial(_open_tensor, tensors))
        if names := [name.removesuffix(".npy") for name in names if name.endswith(".npy")]:
            return ArrayFile(str(path), names, partial(_open_member, archive))
        return None
    stream = stack.enter_context(path.open("rb"))
    if stream.read(6) != b"\x93NUMPY":
        return None
    length = path.stat().st_size
    return ArrayFile(str(path), [""], lambda _, label: _open_npy(stream, length, length, label))


def _open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, with a lock if the file system supports locks."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # EAGAIN: another process is writing to it
            raise
        return h5py.File(path, "r", locking=False)


def _open_member(opened: zipfile.ZipFile, name: str, label: str) -> FileRows:
    """Open an array of an npz file, which is read from its compressed stream."""
    member = opened.getinfo(f"{name}.npy")
    return _open_npy(opened.open(member), member.file_size, member.compress_size, label)


def _open_npy(stream: BinaryIO, length: int, stored: int, label: str) -> FileRows:
    """Open an array in npy format, of `length` bytes in a stream, without loading it whole."""
    stream.seek(0)
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
    _check_size(length - start, stored, shape, dtype)

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
    rows = FileRows(label, dataset.shape, dataset.dtype, lambda rows: dataset[as_slice(rows)])
    return _of_matlab(rows) if "MATLAB_class" in dataset.attrs else rows


def _of_matlab(rows: FileRows) -> FileRows:
    """Return MATLAB's [H, W, C, N], which HDF5 holds as [N, C, W, H], as [N, H, W, C]; a column as [N, 1]."""
    if len(rows.shape) == 2 and rows.shape[0] == 1:
        return replace(rows, shape=rows.shape[::-1], read=lambda numbers: rows.read(np.arange(1)).T[numbers])
    axes = (0, *range(len(rows.shape) - 1, 0, -1))
    shape = tuple(rows.shape[axis] for axis in axes)
    return replace(rows, shape=shape, read=lambda numbers: rows.read(numbers).transpose(axes))


def _open_tensor(tensors: Any, name: str, label: str) -> FileRows:
    tensor = tensors[name]
    try:
        dtype = tensor[:0].numpy().dtype
    except (IndexError, TypeError, RuntimeError) as error:  # a scalar, bfloat16, sparse, quantised, without values
        raise ValueError(
            f"NumPy has no such array: {tensor.dim()} axes, {tensor.dtype}, {tensor.layout}; save levels as uint8"
        ) from error
    needed = dtype.itemsize * tensor.numel()
    # expanded to more than its storage
    _check_size(min(needed, tensor.untyped_storage().nbytes()), needed, tensor.shape, dtype)
    return FileRows(label, tuple(tensor.shape), dtype, lambda rows: tensor[as_slice(rows)].numpy())


def _check_size(nbytes: int, stored: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise ValueError if `nbytes` is not the size of an array of this shape, or `stored` bytes cannot hold it."""
    if not shape:
        raise ValueError("it is no array")
    needed = dtype.itemsize * prod(map(int, shape))
    if nbytes != needed or needed > GREATEST_COMPRESSION * stored:
        raise ValueError(f"its shape {tuple(shape)} is more than the file holds")
    if needed > GREATEST_AT_ONCE * int(shape[0]):
        raise ValueError(
            f"its shape {tuple(shape)} is that of images of more than {GREATEST_AT_ONCE / 2**30:g} GiB each"
        )
