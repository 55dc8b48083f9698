"""Kinds of files of others: what a file that is not read is, and what its owner has to do."""

import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

HEAD = 2**20
"""Bytes of a file, and of the pickle in it, by which its kind is known."""


def kind_of(path: Path, kinds: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what a file or folder is and what to do, by the first of `kinds` that applies; None if none does.

    Parameters
    ----------
    kinds
        Tables of what the file `is`, what to `do`, and `code` for it, in which PATH stands for the path. A kind applies
        by its condition: first bytes (`start`), part of the pickle that the file is or holds (`pickled`), an expression
        for its name or for a member of the zip archive that it is, both in lower case (`name`, `member`), `tar` for a
        tar archive, and `folder`, true for a folder and false for any file. Characters to 255 stand for bytes.
    """
    start, members = b"", []
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(HEAD)
    pickled = start
    if is_zipfile(path):
        with ZipFile(path) as archive:
            members = archive.namelist()
            for name in members:
                if name.endswith("/data.pkl") and any("pickled" in kind for kind in kinds):
                    with archive.open(name) as file:
                        pickled = file.read(HEAD)
    for kind in kinds:
        if (
            ("start" in kind and start.startswith(kind["start"].encode("latin-1")))
            or ("pickled" in kind and kind["pickled"].encode("latin-1") in pickled)
            or ("name" in kind and re.search(kind["name"], path.name.lower()))
            or ("member" in kind and any(re.search(kind["member"], name.lower()) for name in members))
            or ("tar" in kind and path.is_file() and tarfile.is_tarfile(path))
            or kind.get("folder") == path.is_dir()
        ):
            code = kind.get("code") and f"In Python:\n{kind['code'].replace('PATH', repr(str(path)))}"
            return " ".join(filter(None, (f"{kind['is']}.", kind.get("do"), code)))
    return None
