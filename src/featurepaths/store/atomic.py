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
"""What the system says of writing, and never of reading a file that is open."""

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EAGAIN)
"""What `flock` says on a file system without locks, or where somebody else holds the lock."""

REMEDIES = {
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.ENFILE: "The machine has too many open files: close some.",
    errno.ENOMEM: "Give the job more memory.",
    errno.EACCES: "Grant yourself permission to read it and to enter its folders.",
    errno.EPERM: "Grant yourself permission to read it and to enter its folders.",
    errno.EISDIR: "A folder has its name: move that away.",
    **dict.fromkeys(NO_LOCKS, "HDF5 was told to lock files, which failed: unset HDF5_USE_FILE_LOCKING."),
}
"""What to do about an error of the system by its number; about any other, `CHECK_THE_DISK`."""
CHECK_THE_DISK = "Check the disk, or the connection to it."
NOT_OF_THE_SYSTEM = (None, errno.EINVAL)
"""Error numbers of files that are damaged: a position read from such a file may be invalid."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place only if the block ends without an error."""
    path = Path(path)
    # the suffix stays last: matplotlib and others choose the format by it
    temporary = path.with_name(f".{path.stem}.{_maker(os.getpid())}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except FeaturePathsError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number in (errno.ENOENT, None) and not path.parent.exists():  # HDF5 does not always say why
            number = errno.ENOENT
        elif number not in FAILED_WRITES and (number in NOT_OF_THE_SYSTEM or not _names(error, temporary)):
            raise  # something else failed, such as reading an input
        remedy = "Make room or mend the folder."
        if number not in (*FAILED_WRITES, errno.ENOENT):
            remedy = REMEDIES.get(number, CHECK_THE_DISK)
        raise FeaturePathsError(
            f"{path} cannot be written ({os.strerror(number)}). Nothing was left behind. {remedy} Then run again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that were killed left half-written below a folder."""
    for path in Path(folder).rglob(".*.partial*"):
        process = path.name.rpartition(".partial")[0].rpartition("-")[2]
        ours = process.isdecimal() and path.name.rpartition(".partial")[0].endswith(f".{_maker(int(process))}")
        if ours and not Path("/proc", process).exists():
            with suppress(OSError):
                path.unlink()


def _error_number(error: Exception) -> int | None:
    """Return the system's number of an error; HDF5 and safetensors have errors of their own, with it in their words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\b(?:errno = |os error )(\d+)", str(error))
    return int(found[1]) if found else None


def _maker(process: int) -> str:
    """Return what tells a process from those of all machines that share the disk."""
    return f"{platform.node()}-{process}"


def _names(error: Exception, temporary: Path) -> bool:
    """Return whether an error is of a temporary file; HDF5 names no file when it cannot lock one."""
    return str(temporary) in str(error) or "unable to lock file" in str(error)


def may_be_whole(error: Exception) -> bool:
    """Return whether an error is the system's, such as too many open files, and says nothing of the file itself."""
    return _error_number(error) not in NOT_OF_THE_SYSTEM


def unreadable(path: Path, why: object) -> FeaturePathsError:
    """Return the error that says that an artefact cannot be read, why, and what to do.

    It advises to delete the file only if that is damaged or no artefact.
    """
    if isinstance(why, FileNotFoundError | NotADirectoryError):
        return FeaturePathsError(f"{path} does not exist. Run snakemake again to make it.")
    if not isinstance(why, Exception) or not may_be_whole(why):
        return FeaturePathsError(f"{path} cannot be read ({why}). Delete it, and run snakemake again to make it anew.")
    number = _error_number(why)
    return FeaturePathsError(
        f"{path} cannot be read ({os.strerror(number)}). {REMEDIES.get(number, CHECK_THE_DISK)} Then run snakemake "
        "again; the file itself may be whole, so keep it."
    )
