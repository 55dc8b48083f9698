"""Prefetching and asynchronous writing: input and output in a thread during the computation."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_END = object()


def read_ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield `items`, of which a thread computes up to `depth` in advance; errors arrive in order."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield item


@contextmanager
def write_behind(depth: int = 2) -> Iterator[Callable[..., None]]:
    """Yield a function that calls functions, in order, in a thread; at most `depth` calls are outstanding.

    All calls are finished when the block ends. An error in one is raised by a later call, or at the end of the block.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: deque = deque()

        def call(function: Callable[..., None], *arguments: object) -> None:
            if len(waiting) == depth:
                waiting.popleft().result()
            waiting.append(pool.submit(function, *arguments))

        yield call
        for future in waiting:
            future.result()
