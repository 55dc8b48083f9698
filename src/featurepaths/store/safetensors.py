"""The description in a safetensors file, read without its tensors and without torch."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from featurepaths.store.atomic import unreadable
from featurepaths.store.seal import unsealed


def read_description(path: Path) -> dict[str, Any]:
    """Return the description of a safetensors file that `write_tensors` wrote, and no tensor.

    Raises
    ------
    FeaturePathsError
        If the file is missing, cut short, or not one of this format.
    """
    return read_sealed_description(path)[0]


def read_sealed_description(path: Path) -> tuple[dict[str, Any], str]:
    """Read the description of a safetensors file, and its checksum, which covers that of the tensors."""
    try:
        Path(path).open("rb").close()  # safe_open says of every file that it cannot open that there is none
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("featurepaths")
        if text is None:
            raise ValueError("featurepaths did not write it")
        return unsealed(text)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise unreadable(path, error) from error
