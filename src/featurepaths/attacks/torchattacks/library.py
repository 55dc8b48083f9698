"""The library torchattacks, an optional dependency: its random numbers, and its Square attack on images of any shape.

torchattacks 3.5.1 begins the L2 search of Square (Andriushchenko et al., ECCV 2020) with tiles of a fifth of the
height: as many as fit, but not from the first row on, so that for 12, 14, 18, 19 or 24 pixels, among others, the last
tiles leave the image. Its windows cover a share of the area whatever the shape, so that those of the L2 search leave
images that are not square. Both raise errors. Here such images are padded with rows and columns that the network does
not see and the perturbation does not use, and windows are at most as large as the shorter side. Where the library's own
sizes fit, results are bit-identical.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

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


def fit_windows(attack: Any) -> Any:
    """Return a Square attack, or an attack with Square among its parts, changed so that its windows fit all images."""
    for part in getattr(getattr(attack, "_autoattack", None), "attacks", [attack]):
        if type(part) is library().Square:
            part.__class__ = _fitting_class()
    return attack


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Return the least height and width, no smaller than these, that the first tiles of the L2 search fit into."""
    width = max(width, 3)  # the smallest window
    height = max(height, 5)
    while not _tiles_fit(height, width):
        height += 1  # at most to a multiple of 5, where the first tile lies in the corner
    return height, width


def greatest_share(height: int, width: int, norm: str) -> float:
    """Return the share of the area whose window is as large as the shorter side; those of the L2 search are odd."""
    side = min(height, width)
    if norm == "L2":
        side -= 1 - side % 2
    return side**2 / (height * width)


def _tiles_fit(height: int, width: int) -> bool:
    """Return whether the library's first tiles, of a fifth of the height, stay inside of the image."""
    tile = height // 5
    start = (height - 5 * tile) // 2
    return all(start + length // tile * tile <= length for length in (height, width))


@cache
def _fitting_class() -> type:
    """Return the library's Square attack with windows that fit all images."""

    class FittingSquare(library().Square):
        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            self.height, self.width = height, width = images.shape[-2:]
            if self.norm == "L2":
                height, width = padded_size(height, width)
            self.most = greatest_share(height, width, self.norm)
            padded = F.pad(images, (0, width - self.width, 0, height - self.height))
            return self._inside(super().forward(padded, labels)).contiguous()

        def get_logits(self, inputs: Tensor, labels: Tensor | None = None) -> Tensor:
            return super().get_logits(self._inside(inputs), labels)

        def normalize_delta(self, x: Tensor) -> Tensor:
            margin = (0, x.shape[-1] - self.width, 0, x.shape[-2] - self.height)
            return super().normalize_delta(F.pad(self._inside(x), margin))

        def p_selection(self, it: int) -> float:
            return min(super().p_selection(it), self.most)

        def _inside(self, images: Tensor) -> Tensor:
            return images[..., : self.height, : self.width]

    return FittingSquare
