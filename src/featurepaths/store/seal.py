"""The format number and the CRC-32 checksums of artefacts, which detect damage (not malice)."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 4
"""Version of the artefacts' layout; files of another version are refused."""
AT_A_TIME = 2**20
"""Bytes that are read at a time. Two such pieces are in memory, in every stage, for each checksum."""


def checksum_of(path: Path) -> str:
    """Return the CRC-32 of a file, eight hexadecimal digits."""
    with Path(path).open("rb") as file:
        return read_on(file)[1]


def check_zip(path: Path) -> None:
    """Check all CRC-32 of a zip file, such as a file saved by torch, which torch itself does not check.

    Raises
    ------
    zipfile.BadZipFile
        If the file is damaged or no zip file.
    """
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def read_on(file: BinaryIO) -> tuple[int, str]:
    """Return the number of remaining bytes of a file, and their CRC-32."""
    length = checksum = 0
    while part := file.read(AT_A_TIME):
        length += len(part)
        checksum = zlib.crc32(part, checksum)
    return length, f"{checksum:08x}"


def require_format(document: Any) -> dict[str, Any]:
    """Return a document; ValueError if it is not of this format."""
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError(f"it is no artefact of format {FORMAT}")
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']}, not {FORMAT}")
    return document


def crc32(content: bytes) -> str:
    """Return the CRC-32 of bytes, eight hexadecimal digits."""
    return f"{zlib.crc32(content):08x}"
