"""Functions of the user's own that the configuration names as ``package.module:function``.

A module is looked for in the working directory first, then where Python looks (`PYTHONPATH`, installed packages).
"""

import difflib
import hashlib
import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

from featurepaths.errors import FeaturePathsError

FACTORY = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""What the name of a factory looks like."""


def load_factory(text: str) -> Callable[..., Any]:
    """Import and return the function that `text`, such as ``package.module:function``, names.

    Raises
    ------
    FeaturePathsError
        If there is no such module, it cannot be imported, or it has no such function.
    """
    name, _, attribute = text.partition(":")
    _find(text)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise FeaturePathsError(f"{text} cannot be imported: {told(error)}.") from error
    if not hasattr(module, attribute):
        close = difflib.get_close_matches(attribute, dir(module), n=1)
        meant = f" Did you mean '{close[0]}'?" if close else ""
        raise FeaturePathsError(f"{text}: {module.__file__ or name} has no '{attribute}'.{meant}")
    found = getattr(module, attribute)
    if not callable(found):
        raise FeaturePathsError(f"{text}: '{attribute}' in {module.__file__ or name} cannot be called.")
    return found


def call_factory(text: str, arguments: Mapping[str, Any]) -> Any:
    """Return what the function that `text` names makes of `arguments`, given by their names.

    Raises
    ------
    FeaturePathsError
        As `load_factory` does, or, naming the line, if the function raises anything.
    """
    factory = load_factory(text)
    try:
        return factory(**arguments)
    except Exception as error:
        raise FeaturePathsError(f"{text} failed: {told(error)}.") from error


def factory_digest(text: str) -> str:
    """Return a digest that changes when the code of the function that `text` names may have changed.

    It is that of the name and version of the installed distribution that the module belongs to; of a module that
    belongs to none, or to one that is installed in editable mode, that of all Python files of its top-level package, or
    of the module's file. Nothing is imported. What the module itself imports from elsewhere does not count.

    Raises
    ------
    FeaturePathsError
        If there is no such module.
    """
    package = _find(text)
    places = [Path(place) for place in package.submodule_search_locations or [package.origin]]
    for name in sorted(set(packages_distributions().get(package.name, []))):
        found = distribution(name)
        # an editable one lies elsewhere, and a checkout that was only built has no RECORD
        if places[0].is_relative_to(found.locate_file("")) and found.read_text("RECORD") is not None:
            return _hash([name, found.version])
    files = {}
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            files[file.relative_to(place.parent).as_posix()] = _digest_of(file)
    return _hash(files)


def _find(text: str) -> ModuleSpec:
    """Return the specification of the top-level package, or module, of a factory whose module is there.

    `importlib.util.find_spec` would import the packages that a module lies in.
    """
    top, *rest = text.partition(":")[0].split(".")
    # editable packages may have finders of their own
    package = PathFinder.find_spec(top, [str(Path.cwd()), *sys.path]) or importlib.util.find_spec(top)
    found = package
    name = top
    for part in rest:
        name = f"{name}.{part}"
        # by its last name: by its whole one, the packages that it lies in would have to be imported
        found = found and PathFinder.find_spec(part, list(found.submodule_search_locations or []))
    if package is None or found is None or not (package.has_location or package.submodule_search_locations):
        raise FeaturePathsError(
            f"{text}: there is no module '{name}', neither in the working directory ({Path.cwd()}) nor where Python "
            "looks. Start in the folder that holds it, or name that folder in PYTHONPATH."
        )
    return package


def told(error: Exception) -> str:
    """Return what an error of somebody else's code says, and where it was raised."""
    *_, innermost = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} ({innermost.filename}, line {innermost.lineno})"


def _digest_of(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise FeaturePathsError(f"{file} cannot be read ({error.strerror}).") from error


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
