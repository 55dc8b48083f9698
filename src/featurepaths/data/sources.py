"""Sources of data sets: contents of the files that a configuration's section `data` names, and its images, opened.

What reads files of a kind is imported only where there are such files, because every run of the workflow comes here.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featurepaths.data.size import Contents
from featurepaths.data.splits import PARTS, Parts

FILES = ("folder", "arrays", "parquet")
"""Sources in files of the user's."""


def contents_of_source(data: Any, memory: Path | None = None) -> Contents:
    """Return size and digest of the files of one of `FILES`.

    Parameters
    ----------
    data
        The section of the configuration.
    memory
        See `featurepaths.store.fingerprints.look_at_files`.

    Raises
    ------
    FeaturePathsError
        If a file is missing or cannot be used.
    """
    match data.source:
        case "folder":
            from featurepaths.data.folder import contents_of

            return contents_of(data.root, memory, data.class_names)
        case "parquet":
            from featurepaths.data.parquet import contents_of_parquet

            return contents_of_parquet(*data.options(), memory=memory)
    from featurepaths.data.array_files import contents_of_arrays

    return contents_of_arrays(*data.options(), memory=memory)


@contextmanager
def open_source(data: Any, folder: Path, pool: Executor) -> Iterator[tuple[Parts, list[str], str]]:
    """Open a data set: training and test images and labels, the names of the classes, and where the images come from.

    Parameters
    ----------
    data
        The section of the configuration.
    folder
        See `featurepaths.data.datasets.read_dataset`.
    pool
        Reads pictures.

    Raises
    ------
    FeaturePathsError
        If the data set cannot be used.
    """
    if data.source == "folder":
        from featurepaths.data.folder import load_folder

        yield *load_folder(data.root, data.size, pool, data.class_names), data.title
        return
    if data.source == "parquet":
        from featurepaths.data.parquet import open_parquet

        with open_parquet(*data.options(), pool=pool) as loaded:
            yield *loaded, data.title
        return
    if data.source == "arrays":
        from featurepaths.data.array_files import open_parts

        with open_parts(*data.options()) as loaded:
            yield *loaded, data.title
        return
    from featurepaths.data import datasets

    match data.source:
        case "digits":
            loaded = datasets.load_digits(data.size, float(data.test), data.seed)
        case "torchvision":
            arguments = {part: {**data.arguments, **getattr(data, part)} for part in PARTS}
            loaded = datasets.load_torchvision(data.dataset, data.root, data.download, arguments, data.size, folder)
        case "factory":
            loaded = datasets.load_made(data.factory, data.arguments, data.layout, data.size, folder, data.first_label)
        case source:
            loaded = datasets.load_cifar(source, data.root, data.download)
    named = {"torchvision": "{0.dataset}, read by torchvision", "factory": "{0.factory}"}
    yield *loaded, {**datasets.PROVENANCE, **named}[data.source].format(data)
