"""The one exception that a user is meant to read, and how messages name images."""

from collections.abc import Sequence

NAMED = 10  # how many images a message names


class FeaturePathsError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do."""


def counted(positions: Sequence[int]) -> str:
    """Return in words how many images these are, and their positions."""
    named = ", ".join(map(str, positions[:NAMED])) + (", ..." if len(positions) > NAMED else "")
    return f"{len(positions)} image{'s' * (len(positions) > 1)} ({named})"
