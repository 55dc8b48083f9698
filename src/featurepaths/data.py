"""Data sets as one artefact: images, labels, and which split each image belongs to."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from featurepaths.errors import FeaturePathsError
from featurepaths.storage import Origin, create_hdf5, open_hdf5

SPLITS = ("train", "calibration", "test")
PROVENANCE = {
    "digits": "UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak), test part, from scikit-learn",
    "cifar10": "CIFAR-10 (Krizhevsky, 2009), read by torchvision",
}
"""Where the images of each source come from."""


@dataclass(frozen=True)
class Images:
    """Some images of a data set: uint8 [N, H, W, C], labels [N], rows in the artefact [N], names of the classes."""

    images: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    class_names: list[str]


def load_digits(size: int, test: float, seed: int) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Return scikit-learn's handwritten digits as RGB images of `size` pixels, cut into training and test images.

    The 1,797 images of 8x8 pixels with 17 grey levels are those of Alpaydin and Kaynak's Optical Recognition of
    Handwritten Digits (UCI, test part). They are enlarged bilinearly. `test` is the share of test images of each class.
    """
    from PIL import Image
    from sklearn.datasets import load_digits as load

    digits = load()
    grey = np.round(digits.images * 255 / 16).astype(np.uint8)
    large = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in grey]
    images = np.repeat(np.stack([np.asarray(image) for image in large])[..., None], 3, axis=3)
    train, held = _cut(np.arange(len(images)), digits.target, test, seed, "data.test")
    parts = {"train": (images[train], digits.target[train]), "test": (images[held], digits.target[held])}
    return parts, [str(name) for name in digits.target_names]


def load_cifar10(root: str, download: bool) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Return CIFAR-10's 50,000 training and 10,000 test images, read by torchvision and checked by its checksums."""
    from torchvision.datasets import CIFAR10

    parts = {}
    for part, is_train in (("train", True), ("test", False)):
        try:
            dataset = CIFAR10(root, train=is_train, download=download)
        except RuntimeError as error:
            raise FeaturePathsError(
                f"CIFAR-10 is not, or not whole, in data.root ({root}). Put cifar-10-batches-py there, or set "
                "data.download: true where there is a network."
            ) from error
        parts[part] = (dataset.data, np.asarray(dataset.targets))
    return parts, dataset.classes


def write_splits(
    path: Path,
    parts: dict[str, tuple[np.ndarray, np.ndarray]],
    class_names: list[str],
    calibration: float,
    seed: int,
    origin: Origin,
    provenance: str,
) -> dict[str, int]:
    """Cut the calibration images from the training images, write all splits, and return the size of each.

    Parameters
    ----------
    parts
        uint8 images [N, H, W, C] and labels [N] of ``train`` and ``test``.
    calibration
        Share of each class's training images that become the calibration split; 0 for none.
    seed
        Decides which ones.
    provenance
        Where the images come from, to be stored with them.
    """
    images, labels = parts["train"]
    rows = {"train": np.arange(len(images)), "calibration": np.arange(0)}
    if calibration > 0:
        rows["train"], rows["calibration"] = map(
            np.sort, _cut(rows["train"], labels, calibration, seed, "data.calibration")
        )
    splits = {name: (images[part], labels[part]) for name, part in rows.items()} | {"test": parts["test"]}
    for name, (_, found) in splits.items():
        missing = sorted(set(range(len(class_names))) - set(found.tolist()))
        if missing and (name != "calibration" or calibration > 0):
            raise FeaturePathsError(f"The {name} split has no image of class {class_names[missing[0]]}.")
    sizes = {name: len(splits[name][1]) for name in SPLITS}
    with create_hdf5(path, origin) as file:
        file.attrs["provenance"] = provenance
        file["images"] = np.concatenate([splits[name][0] for name in SPLITS])
        file["labels"] = np.concatenate([splits[name][1] for name in SPLITS]).astype(np.int64)
        file["split"] = np.repeat(np.array(SPLITS, dtype="S11"), [sizes[name] for name in SPLITS])
        file["class_names"] = np.array(class_names, dtype=object)
    return sizes


def normalisation(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel of uint8 images [N, H, W, C], in values of [0, 1]."""
    levels = np.arange(256) / 255
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[3])]
    means = [float(count @ levels / count.sum()) for count in counts]
    variances = [count @ (levels - mean) ** 2 / (count.sum() - 1) for count, mean in zip(counts, means, strict=True)]
    # a channel that is everywhere the same is only shifted
    return means, [float(np.sqrt(variance)) or 1.0 for variance in variances]


def _cut(rows: np.ndarray, labels: np.ndarray, share: float, seed: int, key: str) -> list[np.ndarray]:
    """Cut `share` of the rows of every class off; `key` is what to name in an error."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(rows, test_size=share, stratify=labels, random_state=seed)
    except ValueError as error:
        raise FeaturePathsError(f"{key}: {share:g} of {len(rows)} images cannot be cut off ({error}).") from error


def read_split(path: Path, split: str) -> Images:
    """Return the images of one split of the artefact at `path`.

    Raises
    ------
    FeaturePathsError
        If the artefact cannot be read, or has no image of that split.
    """
    with open_hdf5(path) as file:
        (rows,) = np.nonzero(file["split"][:] == split.encode())
        if len(rows) == 0:
            raise FeaturePathsError(f"{path} has no {split} images: set data.calibration above 0.")
        span = slice(rows[0], rows[-1] + 1)  # splits lie one behind the other
        return Images(file["images"][span], file["labels"][span], rows, class_names_in(file))


def class_names_in(file: h5py.File) -> list[str]:
    """Return the names of the classes of an open artefact of images."""
    return [name.decode() for name in file["class_names"][:]]
