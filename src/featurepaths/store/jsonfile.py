"""JSON artefacts: written atomically, with a checksum."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featurepaths.store.atomic import atomic, readable
from featurepaths.store.origin import Origin
from featurepaths.store.seal import FORMAT, sealed, unsealed


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
