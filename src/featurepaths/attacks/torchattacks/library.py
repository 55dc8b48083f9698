"""The library torchattacks, an optional dependency, and its random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch

from featurepaths.errors import FeaturePathsError


def library() -> ModuleType:
    """Return the module torchattacks.

    Raises
    ------
    FeaturePathsError
        If it cannot be imported: how to install it.
    """
    try:
        import torchattacks
    except ImportError as error:
        raise FeaturePathsError(
            f"This attack needs torchattacks, which cannot be imported ({error}). Install it without its outdated "
            "requirements: pip install --no-deps torchattacks==3.5.1"
        ) from error
    return torchattacks


@contextmanager
def seeded_generators(seed: int, index: int, device: torch.device) -> Iterator[int]:
    """Seed the global generators of torch and NumPy by a seed and an image's index; restore them at the end.

    Yields the integer that they are seeded with.
    """
    number = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    state = np.random.get_state()  # noqa: NPY002  torchattacks draws from it
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(number)
        np.random.seed(number)  # noqa: NPY002
        try:
            yield number
        finally:
            np.random.set_state(state)  # noqa: NPY002
