"""The line in front of an HDF5 artefact, which holds its provenance and is read without h5py."""

import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from featurepaths.store.seal import FORMAT, crc32, require_format

GREATEST = 2**20
"""Bytes of the longest line."""


def read_header(file: BinaryIO) -> dict[str, Any]:
    """Read the line in front of an HDF5 artefact; ValueError if it is damaged or of another format.

    It holds the ``origin``, and start, length and CRC-32 (``starts``, ``length``, ``checksum``) of the HDF5 part.
    """
    line = file.readline(GREATEST)
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if checksum.decode("latin-1") != crc32(text):
        raise ValueError(f"it is damaged, or no artefact of format {FORMAT}")
    header = require_format(json.loads(text))
    if (length := os.fstat(file.fileno()).st_size - header["starts"]) != header["length"]:
        raise ValueError(f"it is truncated or extended: {length} bytes instead of {header['length']}")
    return header


def line_of(header: Mapping[str, Any]) -> bytes:
    """Return a header as a line of JSON, preceded by its own CRC-32."""
    text = json.dumps(header, sort_keys=True)
    return f"{crc32(text.encode())} {text}\n".encode()
