"""The format number and the CRC-32 checksums of artefacts, which detect damage (not malice)."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 4
"""Version of the artefacts' layout; files of another version are refused."""
AT_A_TIME = 2**24
"""Bytes of a file that are read at a time."""


def checksum_of(path: Path) -> str:
    """Return the CRC-32 of a file, eight hexadecimal digits."""
    with Path(path).open("rb") as file:
        return read_on(file)[1]


def check_zip(path: Path) -> None:
    """Check the CRC-32 of everything in a zip file, such as torch saves, which torch itself passes over.

    Raises
    ------
    zipfile.BadZipFile
        If it is damaged, or no zip file.
    """
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def read_on(file: BinaryIO) -> tuple[int, str]:
    """Return how many bytes of a file are left, and their CRC-32."""
    length = checksum = 0
    while part := file.read(AT_A_TIME):
        length += len(part)
        checksum = zlib.crc32(part, checksum)
    return length, f"{checksum:08x}"


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the CRC-32 of what it says."""
    return {**document, "checksum": crc32(json.dumps(document, sort_keys=True, allow_nan=False).encode())}


def unsealed(text: str) -> tuple[dict[str, Any], str]:
    """Return the document that a text holds, and its checksum; ValueError if it is damaged or not of this format."""
    document = json.loads(text)
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError(f"it is no artefact of format {FORMAT}")
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {document['format']}, not {FORMAT}")
    found = document.pop("checksum", None)
    if found != sealed(document)["checksum"]:
        raise ValueError("it is damaged: its content does not have its checksum")
    return document, found


def crc32(content: bytes) -> str:
    """Return the CRC-32 of bytes, eight hexadecimal digits."""
    return f"{zlib.crc32(content):08x}"
