"""Kinds of data files as other tools write them, small and valid, and what comes of each; a page of docs has them.

python -m tests.data_kinds docs/data-files.md
"""

import gzip
import io
import pathlib
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io
import torch
import yaml
from PIL import Image
from safetensors.numpy import save_file

from tests import data_kinds_folders
from tests.checkpoint_kinds import update

MARK = "<!-- python -m tests.data_kinds writes what follows, up to the next mark -->\n"
END = "<!-- the end of the tables of data -->\n"
PACKAGES = ("numpy", "h5py", "torch", "torchvision", "scipy", "safetensors", "pillow", "pyarrow")


def drawn(shape=(8, 6, 3), classes=4):
    """Images, uint8 [N, H, W, C] or [N, H, W], and labels [N] of each part."""
    generator = np.random.default_rng(0)
    counts = {"train": 3 * classes, "test": 2 * classes}
    return {
        part: (generator.integers(0, 256, (count, *shape), np.uint8), np.arange(count) % classes)
        for part, count in counts.items()
    }


COLOUR = drawn()
GREY = drawn((8, 6))
CIFAR = drawn((32, 32, 3))
MNIST = drawn((28, 28))
LETTERS = drawn((28, 28), 26)


class Kind(NamedTuple):
    """How files are written into the working directory, the section `data` that names them, and what comes of it.

    `save` takes the images and labels of each part. `outcome` is ``read``, or words of the message that refuses it.
    """

    save: Callable[[dict], Any]
    data: dict
    outcome: str = "read"
    parts: dict = COLOUR
    """The images and labels, counted from 0, that are saved, and read."""
    converted: str = ""
    """The file that the code in the message writes from that of the training images."""


def arrays(train, test=None, **more):
    """The section of arrays in these files; in one file if only that is given."""
    return {"source": "arrays", "train": train, "test": train if test is None else test, **more}


def each(write, suffix=".npz"):
    """Return a function that writes ``train`` and ``test`` with a suffix, each by `write(path, images, labels)`."""

    def save(parts):
        for part, (images, labels) in parts.items():
            write(f"{part}{suffix}", images, labels)

    return save


def named(parts, images="images", labels="labels"):
    """The arrays of all parts by names such as ``train_images``."""
    return {
        f"{p}_{name}": array for p, both in parts.items() for name, array in zip((images, labels), both, strict=True)
    }


def medmnist(parts):
    """As MedMNIST's files: three parts, labels [N, 1] of uint8."""
    parts = {"train": parts["train"], "val": parts["test"], "test": parts["test"]}
    columns = {part: (images, labels[:, None].astype(np.uint8)) for part, (images, labels) in parts.items()}
    np.savez_compressed("data.npz", **named(columns))


def npy_pair(path, images, labels):
    part = path.removesuffix(".npy")
    np.save(f"{part}_data.npy", images)
    np.save(f"{part}_labels.npy", labels.astype(np.int32))


def corrupted(parts):
    """As CIFAR-10-C: five severities of the test images in one file, and their labels."""
    np.savez("train.npz", images=parts["train"][0], labels=parts["train"][1])
    images, labels = parts["test"]
    np.save("fog.npy", np.concatenate([255 - images, images // 2, images, images // 4, images // 8]))
    np.save("labels.npy", np.tile(labels, 5))


def hdf5(path, images, labels):
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, compression="gzip")
        file["labels"] = labels


def floats(images):
    """Images [N, H, W, C] as floats [N, C, H, W]."""
    return (images.transpose(0, 3, 1, 2) / 255).astype(np.float32)


def matlab(path, images, labels):
    """As MATLAB 7.3 saves X [H, W, C, N] or [H, W, N] of uint8, and y [N, 1] of double: HDF5 with the axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        values = {"X": (np.moveaxis(images, 0, -1), "uint8"), "y": (labels[:, None] + 1.0, "double")}
        for name, (array, kind) in values.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    with pathlib.Path(path).open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def torch_pair(path, images, labels):
    torch.save((torch.from_numpy(images), torch.from_numpy(labels)), path)


def torch_floats(path, images, labels):
    torch.save({"data": torch.from_numpy(floats(images)), "targets": torch.from_numpy(labels), "epoch": 3}, path)


def bfloat16(path, images, labels):
    torch.save((torch.from_numpy(floats(images)).bfloat16(), torch.from_numpy(labels)), path)


def torch_legacy(path, images, labels):
    pair = torch.from_numpy(images), torch.from_numpy(labels)
    torch.save(pair, path, _use_new_zipfile_serialization=False)


def tensor_dataset(path, images, labels):
    torch.save(torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels)), path)


def compressed(path, images, labels):
    torch_pair("plain.pt", images, labels)
    with zipfile.ZipFile("plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))


def cifar_batch(path, images, labels):
    """As the files of cifar-10-python.tar.gz."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    pathlib.Path(path).write_bytes(pickle.dumps({b"data": rows, b"labels": labels.tolist()}, protocol=2))


def idx(path, array):
    """As MNIST's files."""
    sizes = np.array(array.shape, ">i4").tobytes()
    pathlib.Path(path).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


def emnist(parts):
    """The files of EMNIST's letters, whose labels begin with 1."""
    folder = pathlib.Path("data/EMNIST/raw")
    folder.mkdir(parents=True)
    for part, (images, labels) in parts.items():
        idx(folder / f"emnist-letters-{part}-images-idx3-ubyte", images)
        idx(folder / f"emnist-letters-{part}-labels-idx1-ubyte", labels + 1)


def csv(path, images, labels):
    table = np.column_stack([labels, images.reshape(len(images), -1)])
    np.savetxt(path, table, "%d", delimiter=",", header="label,pixels", comments="")


def png(image):
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png")
    return content.getvalue()


def in_zip(path, images, labels):
    with zipfile.ZipFile(path, "w") as archive:
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            archive.writestr(f"images/{label}/{row}.png", png(image))


def in_tar(path, images, labels):
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("0.png")
        member.size = len(png(images[0]))
        archive.addfile(member, io.BytesIO(png(images[0])))


def content(make):
    """Return a function that writes the bytes that `make` returns."""
    return each(lambda path, images, labels: pathlib.Path(path).write_bytes(make(images)), "")


def numbered_from_1(parts):
    np.savez("data.npz", **named({part: (images, labels + 1) for part, (images, labels) in parts.items()}))


def refused(save, outcome, suffix, parts=COLOUR, converted=""):
    """A kind of files with a suffix, written by `each`, that are refused."""
    return Kind(each(save, suffix), arrays(f"train{suffix}", f"test{suffix}"), outcome, parts, converted)


def raw(make, outcome, name):
    """A file of these bytes that is refused."""
    return Kind(lambda parts: pathlib.Path(name).write_bytes(make), arrays(name), outcome)


PAIRS = [{"images": f"{part}_data.npy", "labels": f"{part}_labels.npy"} for part in ("train", "test")]
IN_MATLAB = {f"{part}_{kind}": name for part in ("train", "test") for kind, name in (("images", "X"), ("labels", "y"))}
IN_TORCH = {"train_images": "data", "train_labels": "targets", "test_images": "data", "test_labels": "targets"}
KINDS = {
    "npz of four arrays": Kind(lambda parts: np.savez("data.npz", **named(parts)), arrays("data.npz")),
    "npz per part": Kind(
        each(lambda path, images, labels: np.savez_compressed(path, images=images, labels=labels)),
        arrays("train.npz", "test.npz"),
    ),
    "npz in MedMNIST's layout, labels [N, 1]": Kind(medmnist, arrays("data.npz")),
    "the same, grey": Kind(medmnist, arrays("data.npz"), parts=GREY),
    "npz, labels from 1": Kind(numbered_from_1, arrays("data.npz"), "first_label: 1"),
    "the same, `first_label: 1`": Kind(numbered_from_1, arrays("data.npz", first_label=1)),
    "npz, labels as whole floats": Kind(
        each(lambda path, images, labels: np.savez(path, images=images, labels=labels.astype(float))),
        arrays("train.npz", "test.npz"),
    ),
    "npz, one-hot labels": refused(
        lambda path, images, labels: np.savez(path, images=images, labels=np.eye(4, dtype=int)[labels]),
        "Take the argmax",
        ".npz",
    ),
    "npz of objects": refused(
        lambda path, images, labels: np.savez(path, images=np.array([*images, None], object)[:-1], labels=labels),
        "it holds pickled objects",
        ".npz",
    ),
    "npy pairs (CIFAR-10.1)": Kind(each(npy_pair, ".npy"), arrays(*PAIRS)),
    "npy of five severities (CIFAR-10-C)": Kind(
        corrupted, arrays("train.npz", {"images": "fog.npy", "labels": "labels.npy", "severity": 3})
    ),
    "npy without its labels": refused(lambda path, images, labels: np.save(path, images), "Name two files", ".npy"),
    "npy stored by columns": Kind(
        each(lambda path, images, labels: npy_pair(path, np.asfortranarray(images), labels), ".npy"),
        arrays(*PAIRS),
        "it is stored by columns",
    ),
    "HDF5": Kind(each(hdf5, ".h5"), arrays("train.h5", "test.h5")),
    "HDF5, floats [N, C, H, W]": Kind(
        each(lambda path, images, labels: hdf5(path, floats(images), labels), ".h5"), arrays("train.h5", "test.h5")
    ),
    "MATLAB 7.3, X [H, W, C, N] and y [N, 1] from 1": Kind(
        each(matlab, ".mat"), arrays("train.mat", "test.mat", keys=IN_MATLAB, first_label=1)
    ),
    "the same, grey, X [H, W, N]": Kind(
        each(matlab, ".mat"), arrays("train.mat", "test.mat", keys=IN_MATLAB, first_label=1), parts=GREY
    ),
    "MATLAB before 7.3": refused(
        lambda path, images, labels: scipy.io.savemat(path, {"X": np.moveaxis(images, 0, -1), "y": labels[:, None]}),
        "MATLAB file of a version before 7.3",
        ".mat",
        converted="new.npz",
    ),
    "`torch.save((images, labels))`": Kind(each(torch_pair, ".pt"), arrays("train.pt", "test.pt")),
    "`torch.save` of a dict, floats [N, C, H, W]": Kind(
        each(torch_floats, ".pth"), arrays("train.pth", "test.pth", keys=IN_TORCH)
    ),
    "`torch.save` of bfloat16": refused(bfloat16, "torch.bfloat16", ".pt"),
    "`torch.save` of a TensorDataset": refused(
        tensor_dataset, "torch.utils.data.dataset.TensorDataset", ".pt", converted="new.pt"
    ),
    "`torch.save` of a state dict": refused(
        lambda path, images, labels: torch.save(torch.nn.Linear(2, 2).state_dict(), path), "it has bias, weight", ".pt"
    ),
    "`torch.save` before PyTorch 1.6": refused(torch_legacy, "PyTorch before 1.6", ".pt", converted="new.pt"),
    "`torch.save`, compressed afterwards": refused(compressed, "it was compressed after torch.save", ".pt"),
    "pickle (CIFAR's batches)": refused(cifar_batch, "a pickle", "", CIFAR, "new.npz"),
    "idx (MNIST)": refused(lambda path, images, _: idx(path, images), "MNIST's idx format", "", MNIST, "images.npy"),
    "EMNIST's letters": Kind(
        emnist,
        {"source": "torchvision", "dataset": "EMNIST", "root": "data", "arguments": {"split": "letters"}},
        parts=LETTERS,
    ),
    "csv": refused(csv, "a text file", ".csv", MNIST, "new.npz"),
    "safetensors": refused(
        lambda path, images, labels: save_file({"images": images, "labels": labels}, path),
        "a safetensors file",
        ".safetensors",
        converted="new.npz",
    ),
    "zip of images": refused(in_zip, "a zip archive of images", ".zip"),
    "tar archive": refused(in_tar, "a tar archive", ".tar"),
    "compressed by gzip": refused(
        lambda path, images, labels: pathlib.Path(path).write_bytes(gzip.compress(images.tobytes())), "gunzip", ".gz"
    ),
    "a single image": refused(lambda path, images, _: Image.fromarray(images[0]).save(path), "an image", ".png"),
    "incomplete npz": raw(b"PK\x03\x04 and no more", "an incomplete zip archive", "data.npz"),
    "TFRecord": raw(b"\x10\0\0\0\0\0\0\0", "a file of TensorFlow", "mnist-train.tfrecord-00000-of-00001"),
    "parquet as arrays": raw(b"PAR1", "data.source: parquet", "train.parquet"),
    "Arrow": raw(b"\xff\xff\xff\xff", "an Arrow file", "data-00000-of-00001.arrow"),
    "pointer of Git LFS": raw(b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "data.npz"),
    "web page": raw(b"<!doctype html><title>Sign in</title>", "a web page", "data.npz"),
    "any other file": raw(b"0123456789", "neither an npy, npz, HDF5 nor torch file", "data.bin"),
    "folder": Kind(lambda _: pathlib.Path("images").mkdir(), arrays("images"), "source: folder"),
}

ADVERSARIAL, INDEX = floats(COLOUR["test"][0]), np.array([4, 2, 7, 0])


class AdversarialKind(NamedTuple):
    """How a file of `ADVERSARIAL`, or of its images of `INDEX`, is written, its name, and what comes of it."""

    save: Callable[[str], Any]
    file: str
    outcome: str = "read"
    all_images: bool = True


def adversarial_hdf5(path):
    with h5py.File(path, "w") as file:
        file["adversarial"], file["index"] = ADVERSARIAL[INDEX], INDEX


TENSOR = torch.from_numpy(ADVERSARIAL)
ADVERSARIAL_KINDS = {
    "npz of `adversarial` and `index`": AdversarialKind(
        lambda path: np.savez(path, adversarial=ADVERSARIAL[INDEX], index=INDEX), "theirs.npz", all_images=False
    ),
    "HDF5 of both": AdversarialKind(adversarial_hdf5, "theirs.h5", all_images=False),
    "`torch.save` of a dict of both": AdversarialKind(
        lambda path: torch.save({"adversarial": TENSOR[INDEX], "index": torch.from_numpy(INDEX)}, path),
        "theirs.pt",
        all_images=False,
    ),
    "AutoAttack's `{'adv_complete': ...}`": AdversarialKind(
        lambda path: torch.save({"adv_complete": TENSOR}, path), "aa_standard_1_8_eps_0.03137.pth"
    ),
    "`torch.save` of one tensor": AdversarialKind(lambda path: torch.save(TENSOR, path), "theirs.pt"),
    "npy": AdversarialKind(lambda path: np.save(path, ADVERSARIAL), "theirs.npy"),
    "npz without `index`": AdversarialKind(
        lambda path: np.savez(path, adversarial=ADVERSARIAL), "theirs.npz", "has no array 'index'"
    ),
    "`torch.save((images, labels))`": AdversarialKind(
        lambda path: torch.save((TENSOR, torch.arange(8)), path), "theirs.pt", "it has images, labels"
    ),
    "pickle": AdversarialKind(
        lambda path: pathlib.Path(path).write_bytes(pickle.dumps(ADVERSARIAL)), "theirs.pkl", "a pickle"
    ),
}


def what(outcome, said=""):
    """The outcome as the tables have it, and a part of what is said about it."""
    outcome = "read" if outcome == "read" else f"refused: “{outcome}”"
    return f"{outcome}; said: “{said}”" if said else outcome


def tables():
    """Return the tables of the page: kinds of data and of adversarial images, and what comes of them."""
    packages = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in PACKAGES)
    lines = [f"Tried with {packages}.\n", "| files | `data` | outcome |", "|:--|:--|:--|"]
    for name, kind in (data_kinds_folders.KINDS | KINDS).items():
        section = yaml.safe_dump(kind.data, default_flow_style=True, sort_keys=False, width=10**6).strip()
        lines.append(f"| {name} | `{section}` | {what(kind.outcome, getattr(kind, 'said', ''))} |")
    lines += ["\n| adversarial images | file | outcome |", "|:--|:--|:--|"]
    lines += [f"| {name} | `{kind.file}` | {what(kind.outcome)} |" for name, kind in ADVERSARIAL_KINDS.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    update(pathlib.Path(sys.argv[1]), MARK, END, tables())
