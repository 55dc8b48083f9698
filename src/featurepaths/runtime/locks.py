"""Advisory file locks between processes; the kernel releases them when their process ends, however it ends."""

import fcntl
from pathlib import Path
from typing import IO


def lock(path: Path, *, exclusive: bool) -> IO | None:
    """Lock a file without waiting, until it is closed or the process ends; return None if another process holds it.

    Raises
    ------
    OSError
        If the file cannot be opened, or the file system does not support locks.
    """
    file = path.open("a")
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    return file
