"""One pass over images whose features are streamed, saved on the disk so that it goes on where it was stopped."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np

from featurepaths.paths.stream import FeatureStream, Key
from featurepaths.runtime.progress import progress
from featurepaths.store.resume import Progress

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
    saved: Progress,
    name: str,
    stop: Callable[[], object] = lambda: False,
) -> None:
    """Run the network over all images once, and add the features of each key to what gathers them.

    Parameters
    ----------
    labels
        Labels of all images of the stream [N].
    what
        Is shown beside the progress.
    saved, name
        Holds the file of this pass: read at the start if it exists, written every 45 seconds, when stopped, and at the
        end.
    stop
        Is asked after each block whether to leave the rest for another time.
    """
    done = _load(saved.load_arrays(name), gatherers, stream)
    if done:
        print(f"{what}: resumed after {done} of {len(labels)} images", flush=True)

    def see(key: Key, rows: slice, features: np.ndarray) -> None:
        gatherers[key].add(features, labels[rows])

    for rows, _ in progress(stream.read(gatherers, see, done), what, len(stream.blocks_from(done)), "blocks of 64"):
        stopping = stop()
        if stopping or saved.due(SHARE_OF_SAVES) or rows.stop == len(labels):
            sums = {called: getattr(*attribute) for called, attribute in _attributes(gatherers).items()}
            saved.save_arrays({"done": np.array(rows.stop), **sums}, name)
        if stopping:
            return


def _load(saved: Mapping[str, np.ndarray], gatherers: Mapping[Key, Gatherer], stream: FeatureStream) -> int:
    """Restore saved sums; return the number of images they cover, 0 if none were saved or they are of other images."""
    attributes = _attributes(gatherers)
    if saved.keys() != {"done", *attributes}:
        return 0
    done = int(saved["done"])
    if done not in {rows.stop for rows in stream.blocks}:  # where a GPU's memory holds more now than it did then
        return 0
    for called, attribute in attributes.items():
        setattr(*attribute, saved[called][()])
    return done


def _attributes(gatherers: Mapping[Key, Gatherer]) -> dict[str, tuple[Gatherer, str]]:
    """Return all that changes, gatherers with the names of their attributes, by what the file calls it."""
    return {f"{key.pooling}/{key.layer}/{name}": (gatherer, name)
            for key, gatherer in gatherers.items() for name in gatherer.GATHERED}  # fmt: skip
