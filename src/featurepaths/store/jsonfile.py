"""JSON documents with a checksum: separate artefacts, or descriptions in safetensors files, read without torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from featurepaths.store.atomic import atomic, readable
from featurepaths.store.origin import Origin
from featurepaths.store.seal import FORMAT, crc32, require_format


def write_json(path: Path, content: Mapping[str, Any], origin: Origin) -> None:
    """Write `content` and `origin` as a JSON artefact; ValueError if a number is NaN or infinite."""
    document = sealed({"format": FORMAT, **content, "origin": asdict(origin)})
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON artefact, with its ``origin`` and ``checksum``.

    Raises
    ------
    FeaturePathsError
        If the file is missing, damaged, or not an artefact of this format.
    """
    with readable(path):
        return unsealed(Path(path).read_text(encoding="utf-8"))


def read_description(path: Path) -> dict[str, Any]:
    """Return the description in a safetensors file that `featurepaths.store.tensors.write_tensors` wrote.

    Its ``checksum`` covers the checksum of the tensors.

    Raises
    ------
    FeaturePathsError
        If the file is missing, truncated, or of another format.
    """
    with readable(path, SafetensorError):
        Path(path).open("rb").close()  # safe_open reports every file that it cannot open as missing
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("featurepaths")
        if text is None:
            raise ValueError("it was not written by featurepaths")
        return unsealed(text)


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the CRC-32 of its other entries as ``checksum``."""
    content = {name: value for name, value in document.items() if name != "checksum"}
    return {**content, "checksum": crc32(json.dumps(content, sort_keys=True, allow_nan=False).encode())}


def unsealed(text: str) -> dict[str, Any]:
    """Return the document in a text; ValueError if it is damaged or of another format."""
    document = require_format(json.loads(text))
    if document.get("checksum") != sealed(document)["checksum"]:
        raise ValueError("it is damaged: its content does not match its checksum")
    return document
