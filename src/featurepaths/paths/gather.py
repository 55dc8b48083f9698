"""One pass over images whose features are streamed, saved on the disk so that it goes on where it was stopped."""

import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.paths.stream import FeatureStream, Key
from featurepaths.progress import progress
from featurepaths.storage import atomic

SECONDS_BETWEEN_SAVES = 45.0
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
"""What NumPy raises for a file that is not whole."""


class Gatherer(Protocol):
    """Takes in features, some rows at a time; its attributes `GATHERED` are all that changes meanwhile."""

    GATHERED: ClassVar[tuple[str, ...]]

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Take in features [n, d] of images of the classes `labels` [n]."""


def gather(
    stream: FeatureStream,
    gatherers: Mapping[Key, Gatherer],
    labels: np.ndarray,
    what: str,
    saved: Path,
    stop: Callable[[], object] = lambda: False,
) -> bool:
    """Run the network over all images once, and add the features of each key to what gathers them.

    Parameters
    ----------
    labels
        Labels of all images of the stream [N].
    what
        Is shown beside the progress.
    saved
        An npz file for what is gathered: taken up if it is there, written every 45 seconds, when stopped and in the
        end. It belongs to this pass alone.
    stop
        Is asked after each block whether to stop.

    Returns
    -------
    Whether the pass was finished, and not stopped.
    """
    done = _load(saved, gatherers, stream)
    if done:
        print(f"{what}: resumed after {done} of {len(labels)} images", flush=True)

    def see(key: Key, rows: slice, features: np.ndarray) -> None:
        gatherers[key].add(features, labels[rows])

    waiting = sum(rows.start >= done for rows in stream.blocks)
    since = time.monotonic()
    for rows, _ in progress(stream.read(gatherers, see, done), what, waiting, "blocks of 64"):
        stopping = stop()
        if stopping or rows.stop == len(labels) or time.monotonic() - since >= SECONDS_BETWEEN_SAVES:
            _save(saved, gatherers, rows.stop)
            since = time.monotonic()
        if stopping:
            return False
    return True


def _save(path: Path, gatherers: Mapping[Key, Gatherer], done: int) -> None:
    """Write what was gathered of the first `done` images; it is no error if that fails."""
    arrays = {f"{key.pooling}/{key.layer}/{name}": getattr(gatherer, name)
              for key, gatherer in gatherers.items() for name in gatherer.GATHERED}  # fmt: skip
    try:
        with atomic(path) as temporary:
            np.savez(temporary, done=done, **arrays)
    except (FeaturePathsError, OSError) as error:
        print(f"What was gathered so far could not be saved: {error}", flush=True)


def _load(path: Path, gatherers: Mapping[Key, Gatherer], stream: FeatureStream) -> int:
    """Take up what was saved, and return of how many images it is: none if it is not there, not whole, or of others."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: {name: file[f"{key.pooling}/{key.layer}/{name}"] for name in gatherer.GATHERED}
                     for key, gatherer in gatherers.items()}  # fmt: skip
            done = int(file["done"])
    except UNREADABLE:
        return 0
    if done not in {rows.stop for rows in stream.blocks}:  # blocks were cut otherwise
        return 0
    for key, gatherer in gatherers.items():
        for name, values in found[key].items():
            setattr(gatherer, name, values[()])
    return done
