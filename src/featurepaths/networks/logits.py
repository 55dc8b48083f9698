"""The logits in what a classifier returns: a tensor, or an object, a dict or a tuple with one."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from featurepaths.errors import FeaturePathsError


def logits_of(output: Any, images: Tensor) -> Tensor:
    """Return the logits [N, classes] in a network's output for images [N, C, H, W].

    These are the output itself, its attribute or entry ``logits`` (as in transformers' ``ModelOutput``), or the first
    element of a tuple or list.

    Raises
    ------
    FeaturePathsError
        If there are none, or their shape is another.
    """
    kind, logits = type(output).__name__, output
    if isinstance(output, Mapping):
        kind, logits = f"{kind} with the keys {', '.join(map(str, output))}", output.get("logits")
    elif hasattr(output, "logits"):
        logits = output.logits
    elif isinstance(output, tuple | list) and output:
        logits = output[0]
    if not isinstance(logits, Tensor):
        raise FeaturePathsError(
            f"The network must return logits [N, classes], not a {kind} without logits. Wrap it in a module that "
            "returns them."
        )
    if logits.dim() != 2 or len(logits) != len(images):
        count = f"{len(images)} image{'s' * (len(images) != 1)}"
        raise FeaturePathsError(
            f"The network must return logits [N, classes], not the shape {tuple(logits.shape)} for {count}. "
            f"{_remedy(logits, len(images))}"
        )
    return logits


def _remedy(logits: Tensor, count: int) -> str:
    """Return a sentence on what to do about logits of another shape."""
    match list(logits.shape):
        case [n] if n == count:
            return "For one logit z per image, return two: torch.stack([-z / 2, z / 2], dim=1)."
        case [_] if count == 1:
            return "If it calls squeeze(), name the axis."
        case [n, _, 1, 1] if n == count:
            return "Flatten them: logits.flatten(1)."
        case [n, _, _, _] if n == count:
            return "It returns maps, as for segmentation. A classifier is needed."
        case _:
            return "Each image needs a row of one logit per class."
