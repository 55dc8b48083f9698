"""The size of a data set: images, classes, height, width, channels."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSize:
    """The number of images and classes of a data set, all splits together, and the shape of its images.

    The defaults, those of CIFAR-100, stand for data sets that have not been read yet.
    """

    images: int = 60000
    classes: int = 100
    height: int = 32
    width: int = 32
    channels: int = 3

    @property
    def area(self) -> float:
        """Pixels of an image, relative to those of an image of CIFAR."""
        return self.height * self.width / 32**2


@dataclass(frozen=True, kw_only=True)
class Contents(DataSize):
    """The size of a data set and a digest of the files that hold it."""

    digest: str
