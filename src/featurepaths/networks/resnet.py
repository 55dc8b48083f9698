"""The residual networks of the paper's Table 1."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurepaths.networks.architectures import BLOCKS


class Normalise(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation; as the first layer of a network."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes (He et al., 2016)."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network over images in [0, 1]; its layers, in the paper's sense, are its residual blocks.

    Parameters
    ----------
    architecture
        A name of `BLOCKS`.
    classes
        Number of logits.
    width
        Channels of the first stage, 64 in the paper; every later stage has twice as many as its predecessor.
    stem
        How 32x32 images become 16x16 before the first block, which the paper leaves open: ``conv`` is a 3x3
        convolution of stride 2, ``pool`` one of stride 1 and a 3x3 max-pool of stride 2.
    mean, std
        Normalisation of the input, by channel.
    """

    def __init__(
        self,
        architecture: str,
        classes: int,
        width: int = 64,
        stem: str = "conv",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ):
        super().__init__()
        self.normalise = Normalise(mean, std)
        pool = stem == "pool"
        self.stem = nn.Sequential(
            nn.Conv2d(len(mean), width, 3, stride=1 if pool else 2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1) if pool else nn.Identity(),
        )
        blocks = []
        channels_in = width
        for stage, count in enumerate(BLOCKS[architecture]):
            channels = width * 2**stage
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(Block(channels_in, channels, stride))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels_in, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def layer_names(self) -> list[str]:
        """The residual blocks by their module names, in order."""
        return [f"blocks.{number}" for number in range(len(self.blocks))]

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [0, 1] to logits [N, classes]."""
        if not images.is_cuda:
            # Not channels-last: on a CPU, torch 2.14's backward pass of a narrow 1x1 convolution of stride 2 then
            # writes outside its memory.
            images = images.contiguous()
        last = self.blocks(self.stem(self.normalise(images)))
        return self.classifier(last.mean(dim=(2, 3)))
