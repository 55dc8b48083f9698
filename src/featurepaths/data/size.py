"""The size of a data set: images, classes, pixels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSize:
    """How many images a data set has, of how many classes, their height and width, and their channels.

    Of a data set that is only known once it is read, those of CIFAR-100 are the default.
    """

    images: int = 60000
    classes: int = 100
    pixels: int = 32
    channels: int = 3
