"""Descriptions in safetensors files, read without the tensors and without torch."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from featurepaths.store.atomic import readable
from featurepaths.store.seal import unsealed


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
