"""Resume files: partial results on disk, from which a stopped stage continues."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import TypeVar

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.blocks import joined, retry_smaller_on_oom
from featurepaths.store.atomic import atomic, may_be_whole, unreadable
from featurepaths.store.seal import check_zip

T = TypeVar("T")
Arrays = Mapping[str, np.ndarray]
SECONDS_BETWEEN_SAVES = 45.0
UNSAVED_BYTES = 2**24
"""Blocks are also saved whenever they reach this size, so that no number of images fills the memory."""
COUNT = "number of arrays"


class ResumeFiles:
    """The resume files of one artefact, next to it and under a name that no rule uses as an output.

    Snakemake therefore keeps them when it kills a job. A file that cannot be written is reported in the log and costs
    nothing else. A damaged file is reported in the log and its part of the work starts again.

    Parameters
    ----------
    artefact
        The artefact under way.
    key
        Everything the partial results depend on: recipe, inputs, device, arithmetic. Other work uses other files.
    """

    def __init__(self, artefact: Path, *key: str):
        self.artefact = artefact
        self.path = artefact.with_name(f".{artefact.stem}.{'.'.join(key).replace(' ', '-')}.resume")
        self.last, self.took = time.monotonic(), 0.0

    def due(self, share: float = math.inf) -> bool:
        """Return whether 45 s have passed since the last save, or more if it took more than `share` of that time."""
        return time.monotonic() - self.last >= max(SECONDS_BETWEEN_SAVES, self.took / share)

    def save(self, write: Callable[[Path], object], name: str = "") -> None:
        """Write a zip file atomically: `path`, or the file called `name` in the folder `path`."""
        began = time.monotonic()
        try:
            with atomic(self.path / name) as temporary:
                write(temporary)
        except (FeaturePathsError, OSError, RuntimeError) as error:
            print(f"The progress could not be saved: {error}", flush=True)
        self.last = time.monotonic()
        self.took = self.last - began

    def load(self, read: Callable[[Path], T], name: str = "") -> T | None:
        """Read what `save` wrote; return None if the file does not exist or is damaged.

        Raises
        ------
        FeaturePathsError
            If the system could not read the file, which may be intact.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            check_zip(path)  # NumPy and torch do not check all of a zip file's checksums
            return read(path)
        except Exception as error:  # zipfile, NumPy and unpicklers raise errors of any type for damaged files
            if may_be_whole(error):
                raise unreadable(path, error) from error
            # without the error's text: torch's recommends to load the file unsafely
            print(f"{path} cannot be read ({type(error).__name__}). This part of the work starts again.", flush=True)
            return None

    def save_arrays(self, arrays: Arrays, name: str) -> None:
        """Write arrays as an npz file."""
        self.save(lambda path: np.savez(path, **{COUNT: np.array(len(arrays))}, **arrays), name)

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays of an npz file, none if `load` returns None."""
        return self.load(_read_arrays, name) or {}

    def clear(self) -> None:
        """Remove all resume files of the artefact, including those of other keys, once the artefact is written."""
        for dots in (".", ".."):  # two: a file that `featurepaths.store.atomic.atomic` had not finished
            for path in self.artefact.parent.glob(f"{dots}{self.artefact.stem}.*.resume"):
                rmtree(path, ignore_errors=True)
                with suppress(OSError):
                    path.unlink()


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if arrays.pop(COUNT) != len(arrays):  # zipfile does not notice that its directory lacks an entry
        raise ValueError("an array is missing")
    return arrays


def resuming(
    attack: Callable[[list[slice]], Iterator[tuple[slice, Arrays]]], blocks: Iterable[slice], progress: ResumeFiles
) -> Iterator[tuple[slice, Arrays]]:
    """Attack blocks in order and save them; blocks that are saved already are read instead.

    Parameters
    ----------
    attack
        Yields rows and records for each of the blocks passed to it, in parts if the GPU's memory does not hold a whole
        block (see `featurepaths.runtime.blocks.retry_smaller_on_oom`).
    blocks
        Rows of each block.
    progress
        Holds one file per save, named after the first row in it.

    Yields
    ------
    Rows and records of each block.
    """
    waiting = list(blocks)
    count = len(waiting)
    while waiting and (saved := progress.load_arrays(f"{waiting[0].start}.npz")):
        start = waiting[0].start
        stop = start + len(next(iter(saved.values())))
        if stop < waiting[0].stop:  # not even one block
            break
        while waiting and waiting[0].stop <= stop:
            rows = waiting.pop(0)
            yield rows, {name: values[rows.start - start : rows.stop - start] for name, values in saved.items()}
    if len(waiting) < count:
        print(f"Resumed after {count - len(waiting)} of {count} blocks.", flush=True)
    unsaved: list[tuple[slice, Arrays]] = []

    def save() -> None:
        """Save blocks and release them."""
        first_rows, first_records = unsaved[0]
        arrays = {name: np.concatenate([records[name] for _, records in unsaved]) for name in first_records}
        progress.save_arrays(arrays, f"{first_rows.start}.npz")
        unsaved.clear()

    try:
        for rows, records in joined(retry_smaller_on_oom(attack, waiting), list(waiting)):
            unsaved.append((rows, records))
            size = sum(values.nbytes for _, saved in unsaved for values in saved.values())
            if progress.due() or size >= UNSAVED_BYTES:
                save()
            yield rows, records
        unsaved.clear()
    finally:  # ended by an error or a signal
        if unsaved:
            save()
