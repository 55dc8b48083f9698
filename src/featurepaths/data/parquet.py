"""Images and labels in parquet files as Hugging Face's datasets are stored: encoded pictures, in structs or alone."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from featurepaths.data.images import checked_names, labels_of
from featurepaths.data.pictures import read_pictures, size_of_picture
from featurepaths.data.size import Contents, DataSize
from featurepaths.data.splits import PARTS, Parts
from featurepaths.errors import FeaturePathsError, reported
from featurepaths.store.fingerprints import digest_of_names, look_at_files

UNREADABLE = (OSError, ValueError, LookupError, AttributeError, MemoryError, NotImplementedError)
"""Errors that pyarrow raises for damaged files, and that parsing their metadata does; most are ValueError."""


class ParquetImages:
    """Pictures in a column of open files, by path, read when indexed: ``images[rows]`` is uint8 [n, H, W, C].

    Row groups are read one at a time, and the last one is kept. `size` and `channels` are those of `open_parquet`.
    """

    def __init__(self, files: Mapping[str, Any], column: str, size: int | None, channels: int, pool: Executor) -> None:
        self.column, self.resize, self.pool = column, size is not None, pool
        self._groups = [(path, file, group) for path, file in files.items() for group in range(file.num_row_groups)]
        counts = [file.metadata.row_group(group).num_rows for _, file, group in self._groups]
        self._ends = np.cumsum(counts, dtype=np.int64)
        self._last: tuple[int, Any] = (-1, None)
        if not sum(counts):
            raise FeaturePathsError(f"{' and '.join(files)}: no rows.")
        height, width = (size, size) if size else self._first_size()
        self.shape = (sum(counts), height, width, channels)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return read_pictures(self._pictures(rows), self.shape[1:], self.resize, self.pool)

    def _pictures(self, rows: np.ndarray) -> Iterator[tuple[str, bytes]]:
        """Yield name and encoded bytes of the pictures in ascending rows."""
        groups = np.searchsorted(self._ends, rows, side="right")
        for row, group in zip(rows.tolist(), groups.tolist(), strict=True):
            values, (path, _, number) = self._values(group), self._groups[group]
            position = row - int(self._ends[group]) + len(values)
            yield self._named(path, number, position, values[position].as_py())

    @staticmethod
    def _named(path: str, group: int, position: int, content: Any) -> tuple[str, bytes]:
        """Return the name of a picture in a row group, and its encoded bytes, which may be in a struct."""
        name = f"{path}: image {position} of row group {group}"
        content = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise FeaturePathsError(f"{name}: has no bytes, perhaps only a path. Save the images in the file.")
        return name, content

    def _first_size(self) -> tuple[int, int]:
        """Return the height and width of the first picture, without reading its row group."""
        path, file, number = next(group for group, end in zip(self._groups, self._ends, strict=True) if end)
        with reported(f"{path} cannot be read", *UNREADABLE):
            rows = next(file.iter_batches(1, row_groups=[number], columns=[self.column], use_threads=False))
        return size_of_picture(*self._named(path, number, 0, rows.column(0)[0].as_py()))

    def _values(self, group: int) -> Any:
        if self._last[0] != group:
            path, file, number = self._groups[group]
            with reported(f"{path} cannot be read", *UNREADABLE):
                self._last = group, file.read_row_group(number, columns=[self.column], use_threads=False).column(0)
        return self._last[1]


@contextmanager
def open_parquet(
    files: Mapping[str, str],
    image: str | None,
    label: str | None,
    size: int | None,
    channels: int,
    class_names: list[str] | None,
    *,
    pool: Executor,
) -> Iterator[tuple[Parts, list[str]]]:
    """Open the training and test images, read their labels, and return them with the names of the classes.

    Parameters
    ----------
    files
        The file of each part, or a pattern of files in a folder, which are read in the order of their names.
    image, label
        Their columns. None takes the only one that the files' metadata of Hugging Face declare as images, or as
        class labels.
    size
        Height and width to resize the images to; None keeps their size.
    channels
        See `featurepaths.data.pictures.read_pictures`.
    class_names
        If None, those in the metadata, or else the classes' numbers.
    pool
        Reads the images.

    Raises
    ------
    FeaturePathsError
        If pyarrow is not installed, or a file or column is missing or invalid. Images are checked when they are read.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise FeaturePathsError("source: parquet needs pyarrow, which is not installed: pip install pyarrow") from None
    parts, declared, paths = {}, {}, {part: _paths_of(files[part]) for part in PARTS}
    if common := set(paths["train"]) & set(paths["test"]):
        raise FeaturePathsError(
            f"{min(common)} would hold both the training and the test images; correct data.train or data.test."
        )
    with ExitStack() as stack:
        for part in PARTS:
            opened = {}
            for path in paths[part]:
                with reported(f"{path} is no parquet file that can be read", *UNREADABLE):
                    opened[path] = stack.enter_context(ParquetFile(path))
            columns = [_columns_of(path, file, image, label) for path, file in opened.items()]
            image_column, label_column, names = columns[0]
            if odd := [path for path, other in zip(opened, columns, strict=True) if other != columns[0]]:
                raise FeaturePathsError(f"{odd[0]} has other columns or classes than {paths[part][0]}.")
            images = ParquetImages(opened, image_column, size, channels, pool)
            name = f"'{label_column}' in {files[part]}"
            with reported(f"{name} cannot be read", *UNREADABLE):
                chunks = [file.read(columns=[label_column], use_threads=False).column(0) for file in opened.values()]
                labels = np.concatenate([column.to_numpy() for column in chunks])
            without = sum(column.null_count for column in chunks)
            if 0 < without < len(labels):
                raise FeaturePathsError(f"{name}: {without} images have no label (null). Leave their rows out.")
            if without or (labels.dtype.kind in "if" and not (labels >= 0).any()):
                raise FeaturePathsError(
                    f"{name}: no image has a label, as in a test set published without them. Name files with labels "
                    f"as data.{part}."
                )
            parts[part], declared[part] = (images, labels_of(labels, images, name)), names
        if all(declared.values()) and declared["train"] != declared["test"]:
            raise FeaturePathsError("The training and test files declare different classes; use files of one data set.")
        yield parts, checked_names(parts, class_names or declared["train"] or declared["test"] or None)


def contents_of_parquet(files: Mapping[str, str], *options: Any, memory: Path | None = None) -> Contents:
    """Return size and digest of the files of `open_parquet`, whose further arguments are `options`.

    `memory` is that of `featurepaths.store.fingerprints.look_at_files`.

    Raises
    ------
    FeaturePathsError
        As `open_parquet` does.
    """
    with ThreadPoolExecutor() as pool, open_parquet(files, *options, pool=pool) as (parts, names):
        count = sum(len(labels) for _, labels in parts.values())
        size = DataSize(count, len(names), *parts["train"][0].shape[1:])
    paths = {part: enumerate(_paths_of(files[part])) for part in PARTS}
    by_name = {f"{part} {number:05}": Path(path) for part in PARTS for number, path in paths[part]}

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        return {**asdict(size), "digest": digest_of_names(digests)}

    return Contents(**look_at_files(by_name, summary, " and ".join(files.values()), memory))


def _paths_of(pattern: str) -> list[str]:
    path = Path(pattern)
    with reported(f"{pattern} is no pattern of files", ValueError, NotImplementedError):
        paths = [path] if path.is_file() else sorted(path.parent.glob(path.name))
    if not paths:
        raise FeaturePathsError(f"There is no file {pattern}.")
    return list(map(str, paths))


def _columns_of(path: str, file: Any, image: str | None, label: str | None) -> tuple[str, str, list[str]]:
    """Return the columns of images and labels of a file, and the names of the classes that it declares."""
    with reported(f"{path} cannot be read", *UNREADABLE):
        names = file.schema_arrow.names
        metadata = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata.get("info", {}).get("features", {})
        kinds = {name: features[name].get("_type") for name in names if isinstance(features.get(name), dict)}
    selected = []
    for key, column, kind in (("image", image, "Image"), ("label", label, "ClassLabel")):
        columns = [column] if column else [name for name in kinds if kinds[name] == kind]
        if len(columns) != 1 or columns[0] not in names:
            raise FeaturePathsError(
                f"{path} has the columns {', '.join(names)}: set data.{key} to the one of the {key}s."
            )
        selected += columns
    declared = features[selected[1]].get("names") if selected[1] in kinds else None
    return *selected, list(map(str, declared)) if isinstance(declared, list) else []
