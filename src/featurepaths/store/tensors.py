"""Tensors in safetensors files, with a description and a checksum."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from featurepaths.store.atomic import atomic, readable, unreadable
from featurepaths.store.jsonfile import read_description, sealed
from featurepaths.store.seal import FORMAT


def write_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, with a JSON description in the file's metadata."""
    # clones, because safetensors does not accept tensors that share memory
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    document = sealed({"format": FORMAT, **description, "tensors_checksum": _checksum_of(tensors)})
    with atomic(path) as temporary:
        # one entry only: safetensors writes several in arbitrary order
        save_file(tensors, temporary, metadata={"featurepaths": json.dumps(document)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors that `write_tensors` wrote, and their description.

    Raises
    ------
    FeaturePathsError
        If the file is missing, damaged, or of another format.
    """
    description = read_description(path)
    with readable(path, SafetensorError):
        tensors = load_file(path)
    if _checksum_of(tensors) != description["tensors_checksum"]:
        raise unreadable(path, "it is damaged: its tensors do not match their checksum")
    return tensors, description


def _checksum_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the CRC-32 of the values, names, types and shapes of tensors on the CPU."""
    checksum = 0
    for name, tensor in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy(), checksum)
    return f"{checksum:08x}"
