"""Do the features inside an image classifier give adversarial examples away? A workflow and a library."""

from importlib import import_module
from typing import Any

_PUBLIC = {"FeaturePathDefense": "defense", "FeaturePathsError": "errors", "find_layers": "networks.layers"}
"""Public names by their modules: imported when asked for, and named in strings, because the digest of a stage's code
covers all that this module imports. `__init__.pyi` is what type checkers read."""

__all__ = ["FeaturePathDefense", "FeaturePathsError", "find_layers"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
