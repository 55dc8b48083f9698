"""One pass over images whose features are streamed, saved on the disk so that it goes on where it was stopped."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from featurepaths.paths.stream import FeatureStream, Key
from featurepaths.runtime.progress import progress
from featurepaths.store.resume import SECONDS_BETWEEN_SAVES, load_arrays, save_arrays

SHARE_OF_SAVES = 1 / 20
"""No more of a pass's time than that is spent on saving before its end: what is gathered may be gigabytes."""


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
) -> None:
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
        Is asked after each block whether to leave the rest for another time.
    """
    done = _load(saved, gatherers, stream)
    if done:
        print(f"{what}: resumed after {done} of {len(labels)} images", flush=True)

    def see(key: Key, rows: slice, features: np.ndarray) -> None:
        gatherers[key].add(features, labels[rows])

    since, took = time.monotonic(), 0.0
    for rows, _ in progress(stream.read(gatherers, see, done), what, len(stream.blocks_from(done)), "blocks of 64"):
        stopping, seconds = stop(), time.monotonic() - since
        due = seconds >= SECONDS_BETWEEN_SAVES and seconds * SHARE_OF_SAVES >= took
        if stopping or due or rows.stop == len(labels):
            began = time.monotonic()
            _save(saved, gatherers, rows.stop)
            since = time.monotonic()
            took = since - began
        if stopping:
            return


def _save(path: Path, gatherers: Mapping[Key, Gatherer], done: int) -> None:
    """Save what was gathered of the first `done` images."""
    found = {called: getattr(*attribute) for called, attribute in _attributes(gatherers).items()}
    save_arrays(path, {"done": np.array(done), **found})


def _load(path: Path, gatherers: Mapping[Key, Gatherer], stream: FeatureStream) -> int:
    """Take up what was saved, and return of how many images it is: 0 if there is nothing, or if it is of others."""
    found = load_arrays(path)
    attributes = _attributes(gatherers)
    if found.keys() != {"done", *attributes}:
        return 0
    done = int(found["done"])
    if done not in {rows.stop for rows in stream.blocks}:  # where a GPU's memory holds more now than it did then
        return 0
    for called, attribute in attributes.items():
        setattr(*attribute, found[called][()])
    return done


def _attributes(gatherers: Mapping[Key, Gatherer]) -> dict[str, tuple[Gatherer, str]]:
    """Return all that changes, gatherers with the names of their attributes, by what the file calls it."""
    return {f"{key.pooling}/{key.layer}/{name}": (gatherer, name)
            for key, gatherer in gatherers.items() for name in gatherer.GATHERED}  # fmt: skip
