"""Resume files: partial results on disk, from which a stopped stage continues."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.blocks import joined
from featurepaths.runtime.oom import retry_smaller_on_oom
from featurepaths.store.atomic import atomic, may_be_whole, unreadable
from featurepaths.store.seal import check_zip

SECONDS_BETWEEN_SAVES = 45.0
COUNT = "number of arrays"


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an npz file, whole or not at all; it is no error if that fails."""
    try:
        with atomic(path) as temporary:
            np.savez(temporary, **{COUNT: np.array(len(arrays))}, **arrays)
    except (FeaturePathsError, OSError) as error:
        print(f"What was found so far could not be saved: {error}", flush=True)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file; none, and a line in the log that says so, if it is there and damaged.

    Raises
    ------
    FeaturePathsError
        If the system could not read it, so that it may be whole.
    """
    if not path.exists():
        return {}
    try:
        check_zip(path)  # NumPy looks at a checksum only when it has read an array to its end
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        if found.pop(COUNT) != len(found):  # a zip file does not notice that its directory lacks an entry
            raise ValueError("an array is missing")
        return found
    except Exception as error:  # of damaged files zipfile and NumPy raise anything
        if may_be_whole(error):
            raise unreadable(path, error) from error
        print(f"{path} cannot be read ({type(error).__name__}): what is saved there is found anew", flush=True)
        return {}


UNSAVED_BYTES = 2**24
"""At the latest when so much has been found blocks are saved, so that no number of images fills the memory."""
Records = Mapping[str, np.ndarray]


def resuming(
    attack: Callable[[list[slice]], Iterator[tuple[slice, Records]]],
    blocks: Iterable[slice],
    folder: Path,
) -> Iterator[tuple[slice, Records]]:
    """Attack blocks in order and save them in `folder`; those that lie there already are read instead.

    Parameters
    ----------
    attack
        Yields the rows and records of each of the blocks that it is given: parts of blocks, where a GPU's memory holds
        no whole one (see `featurepaths.runtime.oom.retry_smaller_on_oom`).
    blocks
        Rows of each block.
    folder
        Belongs to this attack alone: its name should hold the digest.

    Yields
    ------
    Rows and records of each block.
    """
    waiting = list(blocks)
    count = len(waiting)
    while waiting and (saved := _read(folder / f"{waiting[0].start}.npz")):
        for records in saved:
            yield waiting.pop(0), records
    if len(waiting) < count:
        print(f"Resumed after {count - len(waiting)} of {count} blocks.", flush=True)
    unsaved: list[tuple[slice, Records]] = []
    since, size = time.monotonic(), 0
    try:
        for rows, records in joined(retry_smaller_on_oom(attack, waiting), list(waiting)):
            unsaved.append((rows, records))
            size += sum(values.nbytes for values in records.values())
            if time.monotonic() - since >= SECONDS_BETWEEN_SAVES or size >= UNSAVED_BYTES:
                _write(folder, unsaved)
                since, size = time.monotonic(), 0
            yield rows, records
        unsaved.clear()
    finally:  # ended by an error, or by SIGTERM
        if unsaved:
            _write(folder, unsaved)


def _write(folder: Path, blocks: list[tuple[slice, Records]]) -> None:
    """Save blocks in a file that is called after their first row, and let go of them."""
    arrays = {f"{number}/{name}": values for number, (_, block) in enumerate(blocks) for name, values in block.items()}
    save_arrays(folder / f"{blocks[0][0].start}.npz", arrays)
    blocks.clear()


def _read(path: Path) -> list[Records]:
    """Return the blocks of a file in their order, none if it is not there or not whole."""
    blocks: dict[int, dict[str, np.ndarray]] = {}
    for key, values in load_arrays(path).items():
        number, _, name = key.partition("/")
        blocks.setdefault(int(number), {})[name] = values
    return [blocks[number] for number in sorted(blocks)]
