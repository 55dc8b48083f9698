"""Data sets in files of arrays: the training and test images, their labels, and a digest of the files."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from featurepaths.data.array_formats import FileRows, array_in, open_arrays
from featurepaths.data.images import checked_names, images_of, labels_of
from featurepaths.data.size import Contents, DataSize
from featurepaths.data.splits import PARTS, Parts
from featurepaths.errors import FeaturePathsError
from featurepaths.store.fingerprints import digest_of_names, look_at_files

Files = Mapping[str, str | Path | Mapping[str, Any]]
"""Of each part the file, or the files ``images`` and ``labels``, with a ``severity`` or None."""
SEVERITIES = 5  # of CIFAR-10-C, whose files hold the images once for each


@contextmanager
def open_parts(
    files: Files,
    keys: Mapping[str, str | None],
    layout: str | None,
    size: int | None,
    class_names: list[str] | None,
    first_label: int = 0,
) -> Iterator[tuple[Parts, list[str]]]:
    """Open the training and test images, read their labels, and return them with the class names.

    Parameters
    ----------
    files
        The files of each part; both parts may share one.
    keys
        Array names for ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``. If one is None or
        omitted, the array is called that, or ``images`` or ``labels``.
    layout, size
        See `featurepaths.data.images.layout_of` and `ArrayImages`.
    class_names
        The classes' numbers if None.
    first_label
        The label of the first class.

    Raises
    ------
    FeaturePathsError
        If an array is missing or invalid; values of images are checked when they are read.
    """
    with ExitStack() as stack:
        open_once = cache(lambda file: stack.enter_context(open_arrays(file)))

        def array(part: str, kind: str) -> FileRows:
            file, key = files[part], f"{part}_{kind}"
            names = (keys[key],) if keys.get(key) else (key, kind)
            if isinstance(file, Mapping):
                rows = array_in(open_once(file[kind]), names)
                return _of_severity(rows, severity) if (severity := file.get("severity")) else rows
            if "" in open_once(file).names:
                raise FeaturePathsError(
                    f"{file} holds a single array. Name two files, as in data.{part}: {{images: {file}, labels: ...}}."
                )
            return array_in(open_once(file), names)

        parts = {}
        for part in PARTS:
            pixels, labels = array(part, "images"), array(part, "labels")
            images = images_of(pixels, pixels.name, layout, size)
            parts[part] = images, labels_of(labels, images, labels.name, first_label)
        if parts["train"][0].name == (name := parts["test"][0].name):
            raise FeaturePathsError(
                f"{name} would be both the training and the test images; correct data.train, data.test or data.keys."
            )
        yield parts, checked_names(parts, class_names, first_label)


def _of_severity(rows: FileRows, severity: int) -> FileRows:
    """Return the rows of a severity of 1 to `SEVERITIES`, one of as many equal parts."""
    count, remainder = divmod(rows.shape[0], SEVERITIES)
    if remainder:
        raise FeaturePathsError(f"{rows.name} has {rows.shape[0]} rows, not {SEVERITIES} equal parts: omit severity.")
    start, name = count * (severity - 1), f"severity {severity} of {rows.name}"
    return replace(rows, name=name, shape=(count, *rows.shape[1:]), read=lambda numbers: rows.read(numbers + start))


def contents_of_arrays(files: Files, *options: Any, memory: Path | None = None) -> Contents:
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
    pairs = {part: file for part, file in files.items() if isinstance(file, Mapping)}
    paths = {part: str(file) for part, file in files.items() if part not in pairs}
    paths |= {f"{part}.{kind}": str(pair[kind]) for part, pair in pairs.items() for kind in ("images", "labels")}
    by_path = {path: Path(path) for path in paths.values()}
    severities = {f"{part}.severity": str(pair.get("severity")) for part, pair in pairs.items()}

    def summary(digests: Mapping[str, str]) -> dict[str, Any]:
        of_parts = {name: digests[path] for name, path in paths.items()} | severities
        return {**asdict(size), "digest": digest_of_names(of_parts)}

    return Contents(**look_at_files(by_path, summary, " and ".join(by_path), memory))
