"""The exception for errors that the user can correct, and text for the images that a message names."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

NAMED = 10  # images that a message names


class FeaturePathsError(Exception):
    """An error that the user can correct; its message states what is wrong, where, and what to do."""


def _reason(error: Exception) -> object:
    """Return the text of an error, without the path that a system error repeats."""
    return getattr(error, "strerror", None) or error


@contextmanager
def reported(
    problem: str, *errors: type[Exception], reason: Callable[[Exception], object] = _reason, remedy: str = ""
) -> Iterator[None]:
    """Turn `errors` in the block into a FeaturePathsError: the problem, the reason in parentheses, and the remedy."""
    try:
        yield
    except errors as error:
        raise FeaturePathsError(f"{problem} ({reason(error)}). {remedy}".rstrip()) from error


def place_of(error: Exception) -> str:
    """Return type and message of an error in a user's or a library's code, and the line that raised it."""
    *_, innermost = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error}, in {innermost.filename}, line {innermost.lineno}"


def counted(positions: Sequence[int]) -> str:
    """Return the number of images and their positions as text."""
    named = ", ".join(map(str, positions[:NAMED])) + (", ..." if len(positions) > NAMED else "")
    return f"{len(positions)} image{'s' * (len(positions) > 1)} ({named})"
