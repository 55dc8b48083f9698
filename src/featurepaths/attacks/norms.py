"""Norms of perturbations: size, steepest ascent, projection and random starts."""

import numpy as np
import torch
from torch import Tensor

NORMS = {"linf": float("inf"), "l2": 2}
"""The norms that gradient searches are bounded in, by their order."""


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """Return the direction of unit norm along which a linear function of this gradient [N, ...] grows fastest.

    It is the sign for L-infinity, the normalized gradient for L2, and zero where the gradient is zero. It is always
    finite: a partial derivative that is NaN counts as zero, and if some are infinite the L2 direction has only those
    components.
    """
    gradient = gradient.nan_to_num(nan=0.0)  # infinity becomes the greatest number
    if norm == "linf":
        return gradient.sign()
    tiny = torch.finfo(gradient.dtype).tiny
    # squares overflow, or underflow, before the numbers themselves do
    length, greatest = size(gradient, norm), gradient.flatten(1).abs().amax(dim=1)
    unit = torch.where(length.isinf() | (length == 0), greatest.clamp_min(tiny), 1)
    gradient = gradient / _per_image(unit, gradient)
    return gradient / _per_image(size(gradient, norm), gradient).clamp_min(tiny)


def project(images: Tensor, clean: Tensor, eps: float, norm: str) -> Tensor:
    """Return `images` moved into the ball of radius `eps` around `clean` and into [0, 1], both [N, ...].

    For L-infinity `eps` may also be one radius per channel, [C, 1, 1].
    """
    delta = images - clean
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        length = _per_image(size(delta, norm), delta)
        delta = delta * (eps / length.clamp_min(torch.finfo(delta.dtype).tiny)).clamp_max(1.0)
    # clean lies in [0, 1], so clipping moves every pixel towards it and never leaves the ball
    return (clean + delta).clamp(0.0, 1.0)


def random_start(clean: Tensor, indices: np.ndarray, eps: float, norm: str, seed: int) -> Tensor:
    """Return a random point on the ball's surface around each image, clipped to [0, 1].

    The direction depends only on `seed` and the image's index, not on its batch or on global state. As in AutoPGD's
    publication it is uniform in the cube for L-infinity and Gaussian for L2, scaled to length `eps`.
    """
    shape = tuple(clean.shape[1:])
    noise = np.empty(clean.shape, dtype=np.float32)
    for row, index in enumerate(indices):
        generator = np.random.default_rng([seed, int(index)])
        noise[row] = generator.uniform(-1, 1, shape) if norm == "linf" else generator.standard_normal(shape)
    direction = torch.from_numpy(noise).to(clean)
    direction = direction / _per_image(size(direction, norm), direction)
    return project(clean + eps * direction, clean, eps, norm)


def size(delta: Tensor, norm: str) -> Tensor:
    """Return the norm of every perturbation: [N, C, H, W] to [N]; L0 counts pixels, not their channels."""
    if norm == "l0":
        return (delta != 0).any(dim=1).flatten(1).sum(dim=1).to(delta.dtype)
    if norm == "l1":
        return delta.flatten(1).abs().sum(dim=1)
    return torch.linalg.vector_norm(delta.flatten(1), ord=NORMS[norm], dim=1)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
