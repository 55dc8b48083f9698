"""User functions that the configuration names as ``package.module:function``.

A module is searched for in the working directory first, then on Python's path (`PYTHONPATH`, installed packages).
"""

import difflib
import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, reduce
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

from featurepaths.errors import FeaturePathsError, place_of, reported

FACTORY = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
"""Pattern of a function's name."""
WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".tar", ".pkl", ".npz", ".npy", ".h5")
"""Endings of files that may hold weights."""
_opened: list[Path] | None = None


def load_factory(text: str) -> Callable[..., Any]:
    """Import and return the function that `text`, such as ``package.module:function``, names.

    Raises
    ------
    FeaturePathsError
        If the module does not exist or cannot be imported, or has no such function.
    """
    name, _, attribute = text.partition(":")
    _find(text)
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with reported(f"{text} cannot be imported", Exception, reason=place_of):
        module = importlib.import_module(name)
        factory = reduce(lambda owner, part: getattr(owner, part, None), attribute.split("."), module)
    if not callable(factory):
        similar = difflib.get_close_matches(attribute, dir(module), n=3)
        functions = [name for name in similar if callable(vars(module).get(name))]  # without running a lazy attribute
        hint = f" Did you mean '{functions[0]}'?" if functions else ""
        raise FeaturePathsError(f"{text}: {module.__file__ or name} has no function '{attribute}'.{hint}")
    return factory


def call_factory(text: str, arguments: Mapping[str, Any]) -> Any:
    """Call the function that `text` names with keyword `arguments` and return its result.

    Raises
    ------
    FeaturePathsError
        As `load_factory` does, or, naming the line, if the function raises an error.
    """
    factory = load_factory(text)
    with reported(f"{text} failed", Exception, reason=place_of):
        return factory(**arguments)


@contextmanager
def weights_opened() -> Iterator[list[Path]]:
    """Collect the files with an ending of `WEIGHTS` that Python opens for reading in the block, outside ``~/.cache``.

    Libraries that open files without Python, as safetensors does, are not noticed.
    """
    global _opened
    _audit()
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


@cache
def _audit() -> None:
    """Have Python report opened files; this cannot be undone."""
    cached = Path.home() / ".cache"

    def note(event: str, arguments: tuple) -> None:
        if event == "open" and _opened is not None and isinstance(arguments[0], str | os.PathLike):
            path, mode = Path(arguments[0]), arguments[1] or "r"
            if path.suffix in WEIGHTS and mode.startswith("r") and cached not in path.absolute().parents:
                _opened.append(path)

    sys.addaudithook(note)


def factory_digest(text: str) -> str:
    """Return a digest that changes when the code of the function that `text` names may have changed.

    For a module of an installed distribution, the digest covers the distribution's name and version. Otherwise, and for
    distributions installed in editable mode, it covers all Python files of the top-level package, or the module's file.
    Nothing is imported. Other packages that the module imports do not count.

    Raises
    ------
    FeaturePathsError
        If the module does not exist.
    """
    package = _find(text)
    places = [Path(place) for place in package.submodule_search_locations or [package.origin]]
    for name in sorted(set(packages_distributions().get(package.name, []))):
        installed = distribution(name)
        # an editable one lies elsewhere, and a checkout that was only built has no RECORD
        if places[0].is_relative_to(installed.locate_file("")) and installed.read_text("RECORD") is not None:
            return _hash([name, installed.version])
    digests = {}
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            with reported(f"{file} cannot be read", OSError):
                digests[file.relative_to(place.parent).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return _hash(digests)


def _find(text: str) -> ModuleSpec:
    """Return the specification of the top-level package, or module, of a factory after checking that the module exists.

    `importlib.util.find_spec` would import the parent packages of the module.
    """
    top, *parts = text.partition(":")[0].split(".")
    # editable packages may have their own finders
    package = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path]) or importlib.util.find_spec(top)
    module = package
    name = top
    for part in parts:
        name = f"{name}.{part}"
        # by the last part of its name: the full name requires importing its parent packages
        module = module and PathFinder.find_spec(part, list(module.submodule_search_locations or []))
    if package is None or module is None or not (package.has_location or package.submodule_search_locations):
        raise FeaturePathsError(
            f"{text}: there is no module '{name}' in the working directory ({Path.cwd()}) or on Python's path. Run in "
            "the folder that holds it, or add that folder to PYTHONPATH."
        )
    return package


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
