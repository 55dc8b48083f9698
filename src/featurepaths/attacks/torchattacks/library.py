"""torchattacks, which need not be installed."""

from types import ModuleType

from featurepaths.errors import FeaturePathsError


def library() -> ModuleType:
    """Return torchattacks, or say what to install."""
    try:
        import torchattacks
    except ImportError as error:
        raise FeaturePathsError(
            f"This attack needs torchattacks, which cannot be imported ({error}). Install it without its outdated "
            "requirements: pip install --no-deps torchattacks==3.5.1"
        ) from error
    return torchattacks
