"""Atomic writes, and the messages for files that cannot be read or written."""

import errno
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from featurepaths.errors import FeaturePathsError

FAILED_WRITES = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EFBIG", "EACCES", "EPERM", "ENOTDIR", "EEXIST")
}
"""System errors of writing that never occur when an open file is read."""

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EAGAIN)
"""Errors of `flock` on a file system without locks, or if another process holds the lock."""
REMEDIES = {
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.ENFILE: "The machine has too many open files: close some.",
    errno.ENOMEM: "Request more memory for the job.",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Fix the permissions of the file and its folders."),
    errno.EISDIR: "A folder has this name: move it.",
    **dict.fromkeys(NO_LOCKS, "HDF5 could not lock the file: unset HDF5_USE_FILE_LOCKING."),
}
"""Remedies by the number of a system error; for any other, `CHECK_THE_DISK`."""
CHECK_THE_DISK = "Check the disk, or the connection to it."
DAMAGED = (None, errno.EINVAL)
"""Error numbers of damaged files: a position read from such a file may be invalid."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` only if the block ends without an error.

    Raises
    ------
    FeaturePathsError
        If the file cannot be written. Other errors in the block, such as those of reading an input, pass through.
    """
    path = Path(path)
    # the suffix stays last: matplotlib and others derive the format from it
    temporary = path.with_name(f".{path.stem}.{_writer(os.getpid())}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except FeaturePathsError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number in (errno.ENOENT, None) and not path.parent.exists():  # HDF5 does not always report the cause
            number = errno.ENOENT
        elif number not in FAILED_WRITES and (number in DAMAGED or not _names(error, temporary)):
            raise
        remedy = "Free disk space or fix the folder's permissions."
        if number not in (*FAILED_WRITES, errno.ENOENT):
            remedy = REMEDIES.get(number, CHECK_THE_DISK)
        raise FeaturePathsError(
            f"{path} cannot be written ({os.strerror(number)}). No partial file remains. {remedy} Then run again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files below a folder that killed processes of this machine left."""
    for path in Path(folder).rglob(".*.partial*"):
        name = path.name.rpartition(".partial")[0]
        process = name.rpartition("-")[2]
        ours = process.isdecimal() and name.endswith(f".{_writer(int(process))}")
        if ours and not Path("/proc", process).exists():
            with suppress(OSError):
                path.unlink()


def _error_number(error: Exception) -> int | None:
    """Return the number of a system error, which HDF5 and safetensors report in the text of their errors."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = re.search(r"\b(?:errno = |os error )(\d+)", str(error))
    return int(match[1]) if match else None


def _writer(process: int) -> str:
    """Return the name of a process, unique among those of all machines that share the disk."""
    return f"{platform.node()}-{process}"


def _names(error: Exception, temporary: Path) -> bool:
    """Return whether an error concerns a temporary file; HDF5 names no file that it cannot lock."""
    return str(temporary) in str(error) or "unable to lock file" in str(error)


def may_be_whole(error: Exception) -> bool:
    """Return whether an error is a system error, such as too many open files, so that the file may be intact."""
    return _error_number(error) not in DAMAGED


def unreadable(path: Path, why: object) -> FeaturePathsError:
    """Return the error for an artefact that cannot be read.

    Its message advises deleting the file only if it is damaged or no artefact.
    """
    if isinstance(why, FileNotFoundError | NotADirectoryError):
        return FeaturePathsError(f"{path} does not exist. Run snakemake again to create it.")
    if not isinstance(why, Exception) or not may_be_whole(why):
        return FeaturePathsError(f"{path} cannot be read ({why}). Delete it, then run snakemake again.")
    number = _error_number(why)
    return FeaturePathsError(
        f"{path} cannot be read ({os.strerror(number)}). {REMEDIES.get(number, CHECK_THE_DISK)} Then run snakemake "
        "again; keep the file, which may be intact."
    )


@contextmanager
def readable(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn the errors that a damaged or missing artefact causes, and further `errors`, into that of `unreadable`."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RecursionError, *errors) as error:
        raise unreadable(path, error) from error
