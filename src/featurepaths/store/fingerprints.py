"""What is in the files that an experiment reads: digests of them, and a memory that saves reading them all again."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurepaths.errors import FeaturePathsError
from featurepaths.runtime.progress import progress
from featurepaths.store.atomic import atomic

NOTHING: dict[str, Any] = {"contents": None, "files": {}}
"""What is remembered of files that were never looked at."""


@dataclass(frozen=True)
class Contents:
    """A digest of the names and contents of a data set's files, how many images there are, and of how many classes."""

    digest: str
    images: int
    classes: int
    pixels: int
    """Height of the first one."""
    channels: int = 3


def look_at_files(
    files: Mapping[str, Path],
    summarise: Callable[[Mapping[str, str]], dict[str, Any]],
    where: object,
    memory: Path | None = None,
) -> dict[str, Any]:
    """Return what `summarise` makes of the digests of some files, by their names.

    Parameters
    ----------
    files
        The files, by the names that they are remembered under.
    summarise
        Returns JSON values.
    where
        What is read, to tell of progress.
    memory
        A JSON file that this function keeps. Files that it knows, with the size and times of last change that they have
        now, are not read again; and see `last_look`.

    Raises
    ------
    FeaturePathsError
        If a file cannot be read, and whatever `summarise` raises.
    """
    remembered = _recall(memory) if memory else NOTHING
    known = remembered["files"]
    # what was changed just now may change once more without another time stamp: it is read again the next time
    settled = time.time_ns() - 2 * 10**9
    stamps = {name: _stamp_of(file) for name, file in files.items()}
    digests = {name: known[name][-1] for name, stamp in stamps.items() if known.get(name, [])[:-1] == stamp}
    unknown = [name for name in stamps if name not in digests]
    for name in progress(unknown, f"reading {where}", len(unknown), "files"):
        digests[name] = digest_of_file(files[name])
    contents = summarise(digests)
    now = {name: [*stamp, digests[name]] for name, stamp in stamps.items() if max(stamp[1:]) < settled}
    if memory and (found := {"contents": contents, "files": now}) != remembered:
        with atomic(memory) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    return contents


def last_look(memory: Path) -> dict[str, Any] | None:
    """Return what `look_at_files` returned the last time, None if that is not known."""
    return _recall(memory)["contents"]


def digest_of_file(file: Path) -> str:
    """Return the digest of a file's contents, which are not held in memory."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:20]
    except OSError as error:
        raise FeaturePathsError(f"{file} cannot be read ({error.strerror}).") from error


def digest_of_names(digests: Mapping[str, str]) -> str:
    """Return one digest of several, by their names."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:20]


def _recall(memory: Path) -> dict[str, Any]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or not whole
        return NOTHING
    return found if isinstance(found, dict) and found.keys() == NOTHING.keys() else NOTHING


def _stamp_of(file: Path) -> list[int]:
    """Return a file's size and the times of its last changes."""
    try:
        state = file.stat()
    except OSError as error:
        raise FeaturePathsError(f"{file} cannot be read ({error.strerror}).") from error
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
