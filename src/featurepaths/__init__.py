"""Feature paths: detection of adversarial examples from the features inside an image classifier."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurepaths.errors import FeaturePathsError
    from featurepaths.library.defense import FeaturePathDefense
    from featurepaths.library.evaluate import evaluate
    from featurepaths.networks.layers import find_layers

__all__ = ["FeaturePathDefense", "FeaturePathsError", "evaluate", "find_layers"]

_MODULES = {
    "FeaturePathDefense": "library.defense",
    "FeaturePathsError": "errors",
    "evaluate": "library.evaluate",
    "find_layers": "networks.layers",
}
"""Modules of the public names, imported on first access: importing the package does not import torch."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
