"""Network and data as named on the command line, and the sections of a configuration that they stand for."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from featurepaths.data.torchvision import TORCHVISION
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.types import meant
from featurepaths.runtime.entry_points import FACTORY

ARRAYS = (".npz", ".h5", ".hdf5", ".mat", ".pt", ".pth")
"""Endings of files with several arrays."""
CIFAR = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""The folder of each CIFAR data set."""
DOWNLOADS = "data"
"""The folder in which data sets that are named are looked for."""
TEST = ("test", "val", "valid", "validation")
KINDS = (
    "a folder with train/<class>/ and test/<class>/, one or two files of arrays (npz, HDF5, MATLAB 7.3, PyTorch), "
    "parquet files, a folder with such files called train and test, digits, cifar10, cifar100, a data set of "
    "torchvision by its name, package.module:function, or a section `data` of a configuration in braces"
)


def data_section(words: Sequence[str]) -> dict[str, Any]:
    """Return the section `data` that `words`, one or two, stand for.

    Parameters
    ----------
    words
        A data set by its name, a folder, the files of the training and of the test images or one file of both, the
        name of a function, or a section in YAML.

    Raises
    ------
    FeaturePathsError
        If they are none of these.
    """
    if len(words) > 2:
        raise FeaturePathsError(f"--data: {len(words)} words; name {KINDS}.")
    if len(words) == 2:
        return _of_files(*words)
    (word,) = words
    if word.lstrip().startswith("{"):
        return _section(word, "--data", "source")
    if word == "digits":
        return {"source": "digits"}
    if word.lower() in CIFAR:
        return _cifar(word.lower(), Path(DOWNLOADS))
    path = Path(word)
    if path.is_dir():
        return _of_folder(path)
    if path.is_file() or "*" in word:
        return _of_files(word, word)
    if word in TORCHVISION:
        return {"source": "torchvision", "dataset": word} | ({} if word == "FakeData" else {"root": DOWNLOADS})
    if re.fullmatch(FACTORY, word):
        return {"source": "factory", "factory": word}
    suggestion = meant(word, [*CIFAR, *TORCHVISION])
    raise FeaturePathsError(f"--data: there is no file or folder '{word}'{suggestion}; name {KINDS}.")


def network_section(word: str, checkpoint: str | None) -> dict[str, Any]:
    """Return the section of `models` that `word` stands for.

    Parameters
    ----------
    word
        ``package.module:function``, ``timm:<name>``, a folder that transformers' `save_pretrained` wrote, or a section
        in YAML.
    checkpoint
        The file of the weights, if there is one.

    Raises
    ------
    FeaturePathsError
        If it is none of these.
    """
    weights = {"checkpoint": checkpoint} if checkpoint else {}
    if word.lstrip().startswith("{"):
        return _section(word, "--network", "factory") | weights
    library, _, name = word.partition(":")
    if library == "timm" and name and name != "create_model":
        return {"factory": "timm:create_model", "arguments": {"model_name": name}} | weights
    if Path(word, "config.json").is_file():
        factory = "transformers:AutoModelForImageClassification.from_pretrained"
        return {"factory": factory, "arguments": {"pretrained_model_name_or_path": word}} | weights
    if re.fullmatch(FACTORY, word):
        return {"factory": word} | weights
    raise FeaturePathsError(
        f"--network: '{word}' is no network; name package.module:function, such as torchvision.models:resnet18, "
        "timm:<name>, a folder of transformers with config.json, or a section of `models` in braces."
    )


def name_from(text: str) -> str:
    """Return a name for a key or a folder: of ``package.module:function`` the function, else a path's last part."""
    module, _, function = text.strip("/").rpartition(":")
    dots = re.fullmatch(FACTORY, text) and module != "timm"
    last = re.split("[/.]" if dots else "/", function)[-1]
    return re.sub(r"\W+", "_", last, flags=re.ASCII).strip("_")[:60] or "mine"


def _section(text: str, option: str, key: str) -> dict[str, Any]:
    """Return a section in YAML, which has `key`."""
    try:
        section = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FeaturePathsError(f"{option}: the section cannot be read ({error}).") from error
    if not isinstance(section, dict) or key not in section:
        raise FeaturePathsError(f"{option}: the section has no key '{key}'. See docs/own-data.md, docs/own-network.md.")
    return section


def _cifar(source: str, root: Path) -> dict[str, Any]:
    """Return the section of a CIFAR data set, downloaded if its folder is not in `root`."""
    exists = (root / CIFAR[source]).is_dir()
    return {"source": source, "root": str(root)} | ({} if exists else {"download": True})


def _of_folder(path: Path) -> dict[str, Any]:
    """Return the section for a folder: of CIFAR, of pictures, or with files called train and test."""
    for source, name in CIFAR.items():
        for root in (path, path.parent):
            if (root / name).is_dir() and path in (root, root / name):
                return _cifar(source, root)
    if (path / "train").is_dir():
        return {"source": "folder", "root": str(path)}
    for folder in (path, path / "data"):
        for suffix in (".parquet", *ARRAYS):
            files = [_pattern(folder, part, suffix) for part in ("train", *TEST)]
            if files[0] and (tests := list(filter(None, files[1:]))):
                return _of_files(files[0], tests[0])
    arrays = sorted(file for file in path.iterdir() if file.suffix.lower() in ARRAYS)
    if len(arrays) == 1:
        return _of_files(*2 * [str(arrays[0])])
    raise FeaturePathsError(
        f"--data: {path} has neither folders train/<class>/ and test/<class>/ (or val/<class>/) nor files called train "
        f"and test; name {KINDS}."
    )


def _pattern(folder: Path, part: str, suffix: str) -> str | None:
    """Return the file ``<part><suffix>`` in a folder, or else the pattern ``<part>-*<suffix>``; None without either."""
    if (folder / f"{part}{suffix}").is_file():
        return str(folder / f"{part}{suffix}")
    pattern = f"{part}-*{suffix}"
    return str(folder / pattern) if suffix == ".parquet" and any(folder.glob(pattern)) else None


def _of_files(train: str, test: str) -> dict[str, Any]:
    """Return the section for the files, or patterns of files, of the training and test images."""
    suffixes = {Path(file).suffix.lower() for file in (train, test)}
    if suffixes == {".parquet"}:
        return {"source": "parquet", "train": train, "test": test}
    if suffixes <= set(ARRAYS):
        return {"source": "arrays", "train": train, "test": test}
    if ".npy" in suffixes:
        example = "{source: arrays, train: {images: a.npy, labels: b.npy}, test: {images: c.npy, labels: d.npy}}"
        raise FeaturePathsError(f"--data: an npy file holds images or labels, not both. Name all four: '{example}'.")
    raise FeaturePathsError(f"--data: {train} and {test} are no files of images and labels; name {KINDS}.")
