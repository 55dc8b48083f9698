"""Progress of long loops: a bar on a terminal, plain lines in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def progress(items: Iterable[T], label: str, total: int, unit: str = "it") -> Iterator[T]:
    """Yield `items` and report on standard error how many of `total` are finished.

    A terminal shows a tqdm bar; a log file gets a line at most every 10 seconds and one at the end.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=label, total=total, unit=unit, dynamic_ncols=True)
        return
    start = printed = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == total or now - printed >= SECONDS_BETWEEN_LINES:
            printed = now
            print(f"{label}: {done} of {total} {unit}, {now - start:.1f} s", file=sys.stderr, flush=True)
