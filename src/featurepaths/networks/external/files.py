"""Reading the weights in files of other projects, safetensors or PyTorch's; nothing in them is executed."""

import re
import tomllib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor

from featurepaths.errors import FeaturePathsError, reported
from featurepaths.store.file_kinds import kind_of
from featurepaths.store.seal import check_zip

NESTED = ("state_dict", "model_state_dict", "model", "net", "network")
"""Keys under which checkpoints hold the state dict, the first ones preferred."""
AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged?)(?=\d|[._]|$)", re.IGNORECASE)
"""Keys, or prefixes of names, of weights averaged over a training. They are preferred, as by timm."""
BESIDE = re.compile(
    r"(^|[._])(optim|sched|callback|loop|scaler|loss|criterion|hyper|args?([._]|$)|config|rng|meter|metric)",
    re.IGNORECASE,
)
"""Keys of what checkpoints hold beside state dicts."""
NAMED = 8  # number of names of each kind in a message
DEPTH = 4  # number of nested dicts that are looked into
TABLES = tomllib.loads(files(__package__).joinpath("kinds/files.toml").read_text(encoding="utf-8"))


class Blank:
    """Stands for an object beside the weights, which is not read."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _mapping(*_: Any) -> OrderedDict:
    return OrderedDict()


HARMLESS = [
    *((Blank, name) for name in TABLES["harmless"]["blanks"]),
    *((OrderedDict, name) for name in TABLES["harmless"]["mappings"]),
    *((kind, f"builtins.{kind.__name__}") for kind in (list, dict, int, float, str, bool, tuple)),
    (_mapping, "collections.defaultdict"),
]
"""Names of types that checkpoints may hold beside the tensors that torch allows, and what is read in their place."""


def read_weights(path: Path, key: str | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights in a file, by name, and sentences on which of them were taken.

    Parameters
    ----------
    path
        A safetensors file, or one that `torch.save` wrote of a state dict, or of a dict that holds state dicts under
        keys: averaged weights (`AVERAGED`) are preferred, then the keys `NESTED`, then any.
    key
        The key, or the prefix of names, of the weights to take; keys of nested dicts are joined by dots.

    Raises
    ------
    FeaturePathsError
        If the file is missing or damaged, would execute code, holds no state dict, or several of equal rank.
    """
    path = Path(path)
    if path.is_dir():
        raise FeaturePathsError(
            f"{path} is a folder. Name the file of the weights, or let the factory read the folder."
        )
    if not path.is_file():
        raise FeaturePathsError(f"There is no checkpoint {path}. Correct the path of the weights.")
    with reported(f"{path} cannot be read", OSError), path.open("rb") as file:
        start = file.read(9)
    return _chosen(_read(path, start), path, key)


def _read(path: Path, start: bytes) -> Any:
    """Return what a file with the first bytes `start` holds."""
    is_safetensors = start[6:9] == b"\0\0{"  # the end of the length of its header, and the header
    try:
        if not is_safetensors and (kind := kind_of(path, TABLES["kinds"])):
            raise FeaturePathsError(f"{path} is {kind}")
        if is_safetensors or path.suffix == ".safetensors":
            return load_file(path)
        if is_zipfile(path):
            check_zip(path)
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FeaturePathsError:
        raise
    except Exception as error:  # an unpickler raises anything on damaged input
        # of torch's message only what it refused to run: the rest recommends running it
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise FeaturePathsError(
                f"{path} cannot be read without executing code in it: it would call {refused[1]}. Only if you know "
                "what that is and trust the file, convert it in Python: torch.save(torch.load(path, 'cpu', "
                "weights_only=False)['state_dict'], 'weights.pt'), or with another key that its weights have."
            ) from error
        raise FeaturePathsError(
            f"{path} is damaged or not complete, or no file of weights ({type(error).__name__}). Copy it again, or "
            "save network.state_dict() again, by torch.save, or by safetensors.torch.save_file if it is safetensors."
        ) from error


def _state_dicts(content: Any, name: str = "") -> Iterator[tuple[str, Mapping | Tensor]]:
    """Yield the dicts with tensors, by their keys joined by dots, and tensors beside such dicts.

    Those of optimisers and the like are left out. A dict with dicts of tensors is one itself if it has at least as
    many tensors as each of them, and none has a key of weights.
    """
    nested = [
        (key, pair)
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Mapping) and not key.endswith("_extra_state")
        if not BESIDE.search(key) and name.count(".") < DEPTH
        for pair in _state_dicts(value, f"{name}.{key}".lstrip("."))
    ]
    tensors = {f"{name}.{key}".lstrip("."): value for key, value in content.items() if isinstance(value, Tensor)}
    most = max((len(part) for _, (_, part) in nested if isinstance(part, Mapping)), default=0)
    if tensors and len(tensors) >= most and all(_rank(key) == _rank("") for key, _ in nested):
        yield name, content
    elif nested:
        yield from ((key, value) for key, value in tensors.items() if not BESIDE.search(key))
    yield from (pair for _, pair in nested)


def _rank(name: str) -> tuple[bool, int]:
    """Return the place of a key among those of a checkpoint, the least first."""
    numbers = [number for number, key in enumerate(NESTED) if key in name.split(".")]
    return not AVERAGED.search(name), min(numbers, default=len(NESTED))


def _chosen(content: Any, path: Path, key: str | None) -> tuple[dict[str, Tensor], list[str]]:
    entries = dict(_state_dicts(content)) if isinstance(content, Mapping) else {}
    parts = {name: entries[name] for name in sorted(entries, key=_rank) if isinstance(entries[name], Mapping)}
    if not parts:
        names = isinstance(content, Mapping) and ", ".join(map(str, list(content)[:NAMED]))
        listed = f" ({names})" if names else ""
        raise FeaturePathsError(
            f"{path} holds a {type(content).__name__}{listed} without a state dict. Save network.state_dict()."
        )
    names = [name for name in parts if key is None or f"{name}.".startswith(f"{key}.")]
    if not names:  # the key may be a prefix within a state dict
        parts = {part: _under(key, content) for part, content in parts.items()}
        names = [part for part, content in parts.items() if content]
    if not names:
        listed = ", ".join(name or "one without a key" for name in parts)
        raise FeaturePathsError(f"checkpoint_key: {path} has nothing under '{key}'. Its state dicts: {listed}.")
    rivals = [name for name in names[1:] if not name.startswith(f"{names[0]}.".lstrip("."))]  # not dicts in it
    if rivals and _rank(names[0]) == _rank(rivals[0]):
        raise FeaturePathsError(
            f"{path} holds several state dicts: {', '.join(names)}. Choose one by its key: checkpoint_key."
        )
    weights = {str(name): value for name, value in parts[names[0]].items()}
    others = [name for name in entries if name not in parts]
    left_out = [f"{path}: left out: {', '.join(others[:NAMED])}{', ...' * (len(others) > NAMED)}"] if others else []
    return weights, [*_taken(path, names[0], [name for name in parts if name != names[0]]), *left_out]


def _under(prefix: str | None, weights: Mapping) -> dict[str, Any]:
    return {name: value for name, value in weights.items() if str(name).startswith(f"{prefix}.")}


def _taken(path: Path, name: str, others: list[str]) -> Iterator[str]:
    """Yield which weights of a file were taken, where there is more than one state dict or it is an average."""
    if others or AVERAGED.search(name):
        average = ", the average" if AVERAGED.search(name) else ""
        rest = f"; not {', '.join(others[:NAMED])}. checkpoint_key chooses" if others else ""
        yield f"weights: {name or 'those without a key'} of {path}{average}{rest}"
