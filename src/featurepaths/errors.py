"""The exception for errors that the user can correct, and text for the images that a message names."""

from collections.abc import Sequence

NAMED = 10  # images that a message names


class FeaturePathsError(Exception):
    """An error that the user can correct; its message says what is wrong, where, and what to do."""


def counted(positions: Sequence[int]) -> str:
    """Return the number of images and their positions as text."""
    named = ", ".join(map(str, positions[:NAMED])) + (", ..." if len(positions) > NAMED else "")
    return f"{len(positions)} image{'s' * (len(positions) > 1)} ({named})"
