"""Tensors in files that `torch.save` wrote, mapped into memory; nothing in them is executed."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from featurepaths.errors import FeaturePathsError
from featurepaths.store.seal import check_zip


def tensors_in(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a dict by their keys; of a pair as ``images`` and ``labels``; a single one as ``""``.

    Raises
    ------
    ValueError
        If the checksums of the file are wrong, or it was compressed: torch would read other numbers.
    FeaturePathsError
        If it would execute code, is incomplete, or holds something else.
    """
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type for member in archive.infolist()):
            raise ValueError("it was compressed after torch.save; store it as torch.save writes it")
    check_zip(path)
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # an unpickler raises anything
        # of torch's message only what it refused to run: the rest recommends running it
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise FeaturePathsError(
                f"{path} cannot be read without executing code in it ({refused[1]}). If you trust it, convert it. In "
                f"Python:\nimport torch\nimages, labels = torch.load({str(path)!r}, weights_only=False)[:]  # of a "
                "TensorDataset\ntorch.save((images, labels), 'new.pt')"
            ) from error
        raise FeaturePathsError(
            f"{path} is damaged, or holds no tensors ({type(error).__name__}). Copy it again, or write "
            "torch.save((images, labels), 'new.pt')."
        ) from error
    if isinstance(content, Tensor):
        content = {"": content}
    elif isinstance(content, list | tuple) and len(content) == 2:
        content = dict(zip(("images", "labels"), content, strict=True))
    tensors = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): tensor.detach() for name, tensor in tensors if isinstance(tensor, Tensor)}
    if not tensors:
        raise FeaturePathsError(
            f"{path} holds a {type(content).__name__} without tensors. Write torch.save((images, labels), 'new.pt')."
        )
    return tensors
