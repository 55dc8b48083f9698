"""The budget of a gradient search, and the networks that it searches with and is judged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from featurepaths.attacks.radius import check_radius
from featurepaths.networks.copies import copy_of

T = TypeVar("T")


@dataclass(frozen=True)
class Budget:
    """The bounds of a search; see `featurepaths.attacks.apgd.apgd` for `eps`, `norm`, `step` and `iterations`.

    `seed` and the images' indices determine the random starts.
    """

    eps: float | Tensor
    norm: str
    step: float | Tensor | None
    iterations: int
    seed: int

    def scaled(self, factor: float) -> "Budget":
        """Return the same budget in a ball `factor` times as large, with steps in proportion."""
        return replace(self, eps=self.eps * factor, step=None if self.step is None else self.step * factor)

    def with_iterations(self, iterations: int) -> "Budget":
        """Return the same budget with another number of iterations."""
        return replace(self, iterations=iterations)


def pixel_budget(
    eps: float,
    step: float | None,
    *,
    norm: str,
    iterations: int,
    seed: int,
    eps_space: str,
    std: Sequence[float],
    image_shape: Sequence[int],
    device: torch.device | str = "cpu",
) -> Budget:
    """Return a budget in pixel values of [0, 1].

    Parameters
    ----------
    eps, step
        Radius and initial step (None: twice the radius), in `eps_space`: ``pixel``, or ``normalized``, which is
        multiples of each channel's standard deviation `std` [C].
    image_shape
        [C, H, W].

    Raises
    ------
    FeaturePathsError
        If no two images of this shape are as far apart as the radius.
    """
    unit = torch.tensor(std, device=device).view(-1, 1, 1) if eps_space == "normalized" else 1.0
    check_radius("eps", eps * float(torch.as_tensor(unit).min()), norm, image_shape)
    return Budget(eps * unit, norm, None if step is None else step * unit, iterations, seed)


def search_and_reference(
    build: Callable[[nn.Module, str], T], network: nn.Module, precision: str
) -> tuple[T, T | None]:
    """Return what a search follows, and what confirms its results, None if that is the same.

    `build` is called with a network and its precision: for the search with a copy of `network`, whose memory layout it
    may change, in `precision`; for the reference with `network` in float32.
    """
    reference = build(network, "float32")
    return (reference, None) if precision == "float32" else (build(copy_of(network), precision), reference)
