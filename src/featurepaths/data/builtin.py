"""Built-in data sets: scikit-learn's digits, CIFAR-10 and CIFAR-100."""

import numpy as np

from featurepaths.data.splits import PARTS, Parts, split_off
from featurepaths.data.torchvision import TORCHVISION, open_torchvision

PROVENANCE = {
    "digits": "UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak), test part, from scikit-learn",
    "cifar10": "CIFAR-10 (Krizhevsky, 2009), read by torchvision",
    "cifar100": "CIFAR-100 (Krizhevsky, 2009), read by torchvision",
}
"""Source of the images of each built-in data set."""


def load_digits(size: int, test: float, seed: int) -> tuple[Parts, list[str]]:
    """Return scikit-learn's handwritten digits as training and test images, RGB of `size` x `size` pixels.

    The 1,797 images of 8x8 pixels with 17 grey levels are those of Alpaydin and Kaynak's Optical Recognition of
    Handwritten Digits (UCI, test part). They are enlarged bilinearly. `test` is the share of test images in each class.
    """
    from PIL import Image
    from sklearn.datasets import load_digits as load

    digits = load()
    grey = np.round(digits.images * 255 / 16).astype(np.uint8)
    large = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in grey]
    images = np.repeat(np.stack([np.asarray(image) for image in large])[..., None], 3, axis=3)
    train, held = split_off(np.arange(len(images)), digits.target, test, seed, "data.test")
    parts = {"train": (images[train], digits.target[train]), "test": (images[held], digits.target[held])}
    return parts, [str(name) for name in digits.target_names]


def load_cifar(source: str, root: str, download: bool) -> tuple[Parts, list[str]]:
    """Return ``cifar10`` or ``cifar100``, 50,000 training and 10,000 test images.

    torchvision reads them and verifies their checksums.

    Raises
    ------
    FeaturePathsError
        If the files are missing from `root` or damaged, or cannot be downloaded.
    """
    name, parts = source.upper(), {}
    for part, settings in zip(PARTS, TORCHVISION[name], strict=True):
        dataset = open_torchvision(name, {"root": root, "download": download, **settings})
        parts[part] = (dataset.data, np.asarray(dataset.targets))
    return parts, dataset.classes
