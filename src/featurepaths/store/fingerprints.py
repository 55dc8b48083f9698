"""Digests of the contents of input files, remembered so that unchanged files are not read again."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from featurepaths.errors import reported
from featurepaths.runtime.progress import progress
from featurepaths.store.atomic import atomic

NOTHING: dict[str, Any] = {"summary": None, "files": {}}
"""The memory before any file is read."""


def look_at_files(
    files: Mapping[str, Path],
    summarise: Callable[[Mapping[str, str]], dict[str, Any]],
    where: object,
    memory: Path | None = None,
) -> dict[str, Any]:
    """Return the summary of the digests of files, by name.

    Parameters
    ----------
    files
        The files, by the names under which they are remembered.
    summarise
        Returns JSON values from the digests by name.
    where
        A description of the files, for progress messages.
    memory
        A JSON file that this function maintains. Files in it whose size and times of change are the same as before are
        not read again. See also `last_look`.

    Raises
    ------
    FeaturePathsError
        If a file cannot be read, and any error that `summarise` raises.
    """
    remembered = _recall(memory) if memory else NOTHING
    earlier = remembered["files"]
    # a file changed just now may change again without another time stamp: it is read again the next time
    settled = time.time_ns() - 2 * 10**9
    stamps = {name: _stamp_of(file) for name, file in files.items()}
    digests = {name: earlier[name][-1] for name, stamp in stamps.items() if earlier.get(name, [])[:-1] == stamp}
    changed = [name for name in stamps if name not in digests]
    for name in progress(changed, f"reading {where}", len(changed), "files"):
        digests[name] = digest_of_file(files[name])
    summary = summarise(digests)
    entries = {name: [*stamp, digests[name]] for name, stamp in stamps.items() if max(stamp[1:]) < settled}
    if memory and (content := {"summary": summary, "files": entries}) != remembered:
        with atomic(memory) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
    return summary


def files_in(path: Path) -> dict[str, Path]:
    """Return a file by the name `.`, or the files in a folder by their paths within it, without hidden ones."""
    if not path.is_dir():
        return {".": path}
    files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    return {name: file for name, file in files.items() if "/." not in f"/{name}"}


def holds_working_directory(path: str) -> bool:
    """Return whether a path is that of the working directory, or of a folder above it."""
    return Path.cwd().is_relative_to(Path(path).resolve())


def last_look(memory: Path) -> dict[str, Any] | None:
    """Return the last summary that `look_at_files` stored in `memory`, None if there is none."""
    return _recall(memory)["summary"]


def digest_of_file(file: Path) -> str:
    """Return the digest of a file's contents, read in chunks."""
    with reported(f"{file} cannot be read", OSError), file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:20]


def digest_of_names(digests: Mapping[str, str]) -> str:
    """Return one digest of several digests by name."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:20]


def _recall(memory: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):  # missing or damaged
        content = json.loads(memory.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.keys() == NOTHING.keys():
            return content
    return NOTHING


def _stamp_of(file: Path) -> list[int]:
    """Return a file's size and the times of its last changes."""
    with reported(f"{file} cannot be read", OSError):
        state = file.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
