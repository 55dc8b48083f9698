"""Harmless corruptions of images, which a detector should not flag."""

import io
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

JPEG_QUALITY = 50
BLUR_RADIUS = 1.0
BRIGHTNESS = 1.3
NOISE_SEEDS = 2**40
"""Offset of the seeds of noise, beyond those of trainings and of restarts."""

Corruption = Callable[[Tensor, np.ndarray], Tensor]
"""A function of images [N, C, H, W] in [0, 1] and their rows in the data set [N]."""


def corruptions(eps: float, norm: str, seed: int) -> Mapping[tuple[str, str], Corruption]:
    """Return corruptions by name and level: noise of the attack's size, blur, brightness and JPEG compression.

    For L-infinity, noise is uniform with every pixel within `eps`, and Gaussian of standard deviation `eps`; for L2,
    Gaussian of length `eps`. It depends only on `seed` and row.
    """
    noisy = partial(_noisy, seed=seed, eps=eps)
    if norm == "linf":
        level = f"{eps:.4g}"
        noise = {("uniform noise", level): partial(noisy, kind="uniform")}
        noise |= {("gaussian noise", level): partial(noisy, kind="normal")}
    else:
        noise = {("gaussian noise", f"{norm} {eps:.4g}"): partial(noisy, kind="sphere")}
    return noise | {
        ("blur", f"radius {BLUR_RADIUS:g}"): partial(_by_pillow, change=_blurred),
        ("brightness", f"x {BRIGHTNESS:g}"): partial(_by_pillow, change=_brighter),
        ("jpeg", f"quality {JPEG_QUALITY}"): partial(_by_pillow, change=_compressed),
    }


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


def _by_pillow(images: Tensor, rows: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Return images changed one by one as 8-bit pictures; images without one or three channels do not change."""
    if images.shape[1] not in (1, 3):
        return images
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    # Pillow has grey pictures without a channel axis
    pictures = (Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture) for picture in pixels)
    changed = np.stack([np.asarray(change(picture)) for picture in pictures]).reshape(pixels.shape)
    return (torch.from_numpy(changed).permute(0, 3, 1, 2).float() / 255).to(images)


def _blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(BLUR_RADIUS))


def _brighter(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(BRIGHTNESS)


def _compressed(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return Image.open(file)
