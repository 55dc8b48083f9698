"""Harmless changes of an image that a detector should not take for an attack."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

JPEG_QUALITY = 50
BLUR_SIGMA = 1.0
BRIGHTNESS = 1.3
NOISE_SEEDS = 2**40
"""Noise is drawn from seeds of its own, beyond those of trainings and their attacks' restarts."""

Corruption = Callable[[Tensor, np.ndarray], Tensor]
"""A function of images [N, C, H, W] in [0, 1] and their rows in the data set [N]."""


def corruptions(eps: float, norm: str, seed: int) -> Mapping[tuple[str, str], Corruption]:
    """Return corruptions by name and level: noise of the attack's size, blur, brightness and JPEG compression.

    Uniform noise has every pixel within `eps` (L-infinity), or is Gaussian of length `eps` (L2); beside it stands
    Gaussian noise of standard deviation `eps`, where `eps` is that of a pixel. Noise depends on `seed` and row alone.
    """
    found: dict[tuple[str, str], Corruption] = {}
    if norm == "linf":
        found["uniform noise", f"{eps:.4g}"] = lambda images, rows: _noisy(images, rows, seed, eps, "uniform")
        found["gaussian noise", f"{eps:.4g}"] = lambda images, rows: _noisy(images, rows, seed, eps, "normal")
    else:
        found["gaussian noise", f"{norm} {eps:.4g}"] = lambda images, rows: _noisy(images, rows, seed, eps, "sphere")
    found["blur", f"sigma {BLUR_SIGMA:g}"] = lambda images, rows: F.gaussian_blur(images, [5, 5], [BLUR_SIGMA])
    found["brightness", f"x {BRIGHTNESS:g}"] = lambda images, rows: (images * BRIGHTNESS).clamp(0, 1)
    found["jpeg", f"quality {JPEG_QUALITY}"] = lambda images, rows: _jpeg(images)
    return found


def _noisy(images: Tensor, rows: np.ndarray, seed: int, eps: float, kind: str) -> Tensor:
    noise = np.empty(images.shape, np.float32)
    for place, row in enumerate(rows):
        generator = np.random.default_rng([seed + NOISE_SEEDS, int(row)])
        if kind == "uniform":
            noise[place] = generator.uniform(-eps, eps, noise.shape[1:])
        else:
            drawn = generator.standard_normal(noise.shape[1:])
            noise[place] = eps * (drawn if kind == "normal" else drawn / np.linalg.norm(drawn))
    return (images + torch.from_numpy(noise).to(images)).clamp(0, 1)


def _jpeg(images: Tensor) -> Tensor:
    pixels = (images * 255).round().to(torch.uint8).cpu()
    if pixels.shape[1] not in (1, 3):  # what JPEG knows
        return images
    return (torch.stack([F.jpeg(each, JPEG_QUALITY) for each in pixels]).float() / 255).to(images)
