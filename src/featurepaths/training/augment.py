"""Data augmentation of whole batches of tensors."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

PADDING = 4


def crop_flip(images: Tensor, generator: Generator) -> Tensor:
    """Pad images [N, C, H, W] with 4 black pixels, crop each at random, and flip half of them horizontally."""
    count, _, height, width = images.shape
    device = images.device
    padded = F.pad(images, [PADDING] * 4)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator, device=generator.device).to(device)
    mirrored = torch.rand(count, generator=generator, device=generator.device).to(device) < 0.5
    rows = top.view(-1, 1) + torch.arange(height, device=device)
    columns = left.view(-1, 1) + torch.arange(width, device=device)
    columns = torch.where(mirrored.view(-1, 1), columns.flip(1), columns)
    image = torch.arange(count, device=device).view(-1, 1, 1)
    # the index dimensions (image, row, column) come first, so the channels end up last
    return padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2).contiguous()
