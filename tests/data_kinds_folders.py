"""Kinds of folders, parquet files and data set classes, small and valid, and what comes of each."""

import io
import json
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

try:
    import pyarrow
    from pyarrow import parquet
except ImportError:  # the tests say so
    pyarrow = None

NAMES = ("cat", "dog")
COUNTS = {"train": 4, "test": 2}
"""Images of each class."""


def truth(part, side=32, channels=3):
    """Return images, uint8 [n, side, side, channels], and labels [n], in the order of the classes."""
    labels = np.repeat(np.arange(len(NAMES)), COUNTS[part])
    shape = len(labels), side, side, channels
    return np.random.default_rng(list(COUNTS).index(part)).integers(0, 256, shape, np.uint8), labels


class Kind(NamedTuple):
    """How a data set is written, and what comes of it.

    `write(folder)` writes it in the working directory `folder`. `outcome` is ``read``, or a word of the message that
    refuses it.
    """

    write: object
    data: dict
    outcome: str = "read"
    said: str = ""
    """A part of what is said about it."""
    same: bool = True
    """Whether the images are those of `truth`, and not resized."""
    channels: int = 3


def encoded(image, kind="PNG", **options):
    """Return an image [H, W, C] as the bytes of a file."""
    Image.fromarray(image.squeeze()).save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def png_of_16_bits(colour_type, channels):
    """Return a PNG of 8x8 pixels with 16 bits per channel, by its specification; Pillow writes none in colour."""
    rows = (b"\0" + b"\x12\x34" * 8 * channels) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 16, colour_type, 0, 0, 0)
    pieces = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    written = [struct.pack(">I", len(x)) + kind + x + struct.pack(">I", zlib.crc32(kind + x)) for kind, x in pieces]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


TRANSPARENT = encoded(np.full((32, 32, 4), 99, np.uint8))
DAMAGED = encoded(truth("train")[0][0])[:1000]


def place(folder, part, **replaced):
    """Write the images of a part to folders of classes, other contents in place of some ``<class><number>``."""
    images, labels = truth(part)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{NAMES[label]}{row % COUNTS[part]}"
        (folder / NAMES[label]).mkdir(parents=True, exist_ok=True)
        (folder / NAMES[label] / f"{name}.png").write_bytes(replaced.get(name, encoded(image)))


def folders(train="train", test="test", then=lambda folder: None, **replaced):
    """Return a function that writes both parts, the training images partly replaced, and then changes the folder."""

    def write(folder):
        place(folder / "images" / train, "train", **replaced)
        place(folder / "images" / test, "test")
        then(folder / "images")

    return write


def unlabelled(folder):
    """A `test` folder of images without classes, as in competitions."""
    (folder / "test").mkdir()
    (folder / "test/0.png").write_bytes(encoded(truth("test")[0][0]))


def another_test(folder):
    """A `val` folder beside `test`, with other images."""
    place(folder / "val", "test", cat0=encoded(truth("train")[0][0]))


def numbers(folder):
    """Classes named by numbers, which the alphabet orders as the names before."""
    for part in ("train", "test"):
        for old, new in zip(NAMES, ("10", "9"), strict=True):
            (folder / part / old).rename(folder / part / new)


def tiny_imagenet(folder):
    """Tiny ImageNet: boxes beside the training images, classes of the validation images in a list, a `test` without."""
    root = folder / "images"
    place(root / "train", "train")
    for name in NAMES:
        files = sorted((root / "train" / name).iterdir())
        (root / "train" / name / "images").mkdir()
        for file in files:
            file.rename(root / "train" / name / "images" / f"{file.stem}.JPEG")
        (root / "train" / name / f"{name}_boxes.txt").write_text(
            "".join(f"{file.stem}.JPEG\t0\t0\t9\t9\n" for file in files)
        )
    for part in ("val", "test"):
        (root / part / "images").mkdir(parents=True)
    lines = []
    for row in (2, 0, 3, 1):  # in no order of the classes
        images, labels = truth("test")
        (root / "val/images" / f"val_{row}.JPEG").write_bytes(encoded(images[row]))
        (root / "test/images" / f"test_{row}.JPEG").write_bytes(encoded(images[row]))
        lines.append(f"val_{row}.JPEG\t{NAMES[labels[row]]}\t0\t0\t9\t9\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))


def turned(folder):
    """Photographs whose camera was held upright: turned by their EXIF orientation."""
    for part in COUNTS:
        place(folder / "images" / part, part)
        exif = Image.Exif()
        exif[0x0112] = 6
        for file in (folder / "images" / part).glob("*/*.png"):
            Image.fromarray(np.rot90(np.asarray(Image.open(file)))).save(file, exif=exif)


def larger(folder):
    Image.new("RGB", (48, 40)).save(folder / "train/dog/dog3.png")


def without_images(folder):
    (folder / "train/fox").mkdir()


def only_in_test(folder):
    (folder / "train/dog").rename(folder / "train/wolf")


IMAGES = {"source": "folder", "root": "images"}
FILES = {"source": "parquet", "train": "train.parquet", "test": "test.parquet"}
COLUMNS = {"image": "img", "label": "label"}
LABEL = {"names": list(NAMES), "_type": "ClassLabel"}


def as_struct(image, kind="PNG"):
    return {"bytes": encoded(image, kind), "path": None}


def hugging_face(features=None, image=as_struct, label=int, shards=1, channels=3, **more):
    """Return a function that writes parquet files; `features` are declared in the metadata of Hugging Face."""

    def write(folder):
        for part in COUNTS:
            images, labels = truth(part, channels=channels)
            columns = {"img": list(map(image, images)), "label": list(map(label, labels))}
            table = pyarrow.table(columns | {name: [value] * len(labels) for name, value in more.items()})
            if features is not None:
                table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
            for shard in range(shards):
                size = -(-len(labels) // shards)
                name = f"{part}.parquet" if shards == 1 else f"{part}-{shard:05}-of-{shards:05}.parquet"
                parquet.write_table(table.slice(shard * size, size), folder / name, row_group_size=3)

    return write


DECLARED = {"img": {"_type": "Image"}, "label": LABEL}

FOLDERS = {
    "`train/<class>/*` and `test/<class>/*`": Kind(folders(), IMAGES),
    "`train` and `val`, no `test` (ImageNet)": Kind(folders(test="val"), IMAGES, said="does not exist"),
    "`train` and `validation`": Kind(folders(test="validation"), IMAGES, said="images/validation"),
    "`train`, `val` and `test`": Kind(folders(then=another_test), IMAGES),
    "`train`, `val`, and a `test` without classes": Kind(
        folders(test="val", then=unlabelled), IMAGES, said="has no labels"
    ),
    "Tiny ImageNet": Kind(tiny_imagenet, IMAGES, said="has no labels"),
    "folder whose classes are numbers": Kind(folders(then=numbers), IMAGES, said="class_names"),
    "folder with EXIF orientation": Kind(turned, IMAGES),
    "folder with images of several sizes": Kind(folders(then=larger), IMAGES, "set data.size"),
    "the same, `size: 32`": Kind(folders(then=larger), IMAGES | {"size": 32}, same=False),
    "folder with a 16-bit image": Kind(folders(cat1=png_of_16_bits(2, 3)), IMAGES, "more than 8 bits"),
    "folder with a transparent image": Kind(folders(cat1=TRANSPARENT), IMAGES, "transparent"),
    "folder with a damaged image": Kind(folders(dog0=DAMAGED), IMAGES, "cannot be read"),
    "folder with an empty class": Kind(folders(then=without_images), IMAGES, "has no image"),
    "folder whose parts have different classes": Kind(folders(then=only_in_test), IMAGES, "same classes"),
    "folder without test images": Kind(folders(test="elsewhere"), IMAGES, "no folder"),
}
PARQUET = {
    "parquet, declared `Image` and `ClassLabel` (Hugging Face)": Kind(hugging_face(DECLARED), FILES),
    "the same in several files": Kind(
        hugging_face(DECLARED, shards=2), FILES | {"train": "train-*.parquet", "test": "test-*.parquet"}
    ),
    "the same with two labels (CIFAR-100)": Kind(
        hugging_face({**DECLARED, "coarse": LABEL}, coarse=0), FILES, "set data.label"
    ),
    "the same, `label: label`": Kind(hugging_face({**DECLARED, "coarse": LABEL}, coarse=0), FILES | {"label": "label"}),
    "parquet of structs with bytes, nothing declared": Kind(hugging_face(), FILES, "set data.image"),
    "the same, `image: img`, `label: label`": Kind(hugging_face(), FILES | COLUMNS),
    "parquet of bytes, nothing declared, `image: img`, `label: label`": Kind(
        hugging_face(image=encoded), FILES | COLUMNS
    ),
    "parquet of grey images": Kind(hugging_face(DECLARED, channels=1), FILES, same=False),
    "the same, `channels: 1`": Kind(hugging_face(DECLARED, channels=1), FILES | {"channels": 1}, channels=1),
    "parquet of colour images, `channels: 1`": Kind(hugging_face(DECLARED), FILES | {"channels": 1}, "coloured"),
    "parquet with 16-bit images": Kind(
        hugging_face(DECLARED, image=lambda _: {"bytes": png_of_16_bits(2, 3), "path": None}), FILES, "more than 8 bits"
    ),
    "parquet with paths of images, without their bytes": Kind(
        hugging_face(DECLARED, image=lambda _: {"bytes": None, "path": "0.png"}), FILES, "has no bytes"
    ),
    "parquet without labels (all are -1)": Kind(hugging_face(DECLARED, label=lambda _: -1), FILES, "has a label"),
    "parquet with the names of classes as labels": Kind(
        hugging_face(label=lambda label: NAMES[label]), FILES | COLUMNS, "whole numbers"
    ),
    "parquet with numbers in the column of images": Kind(
        hugging_face(image=lambda image: int(image[0, 0, 0])), FILES | COLUMNS, "has no bytes"
    ),
}
MODULE = """
import numpy as np
from PIL import Image
from tests.data_kinds_folders import truth


class Items:
    def __init__(self, part):
        self.images, self.labels = truth(part, channels={channels})

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return Image.fromarray(self.images[row].squeeze()), np.array([self.labels[row]] * {labels})


def items():
    return Items("train"), Items("test"), ["cat", "dog"]
"""


def medmnist(channels, labels):
    """Return a function that writes a module whose data sets are like MedMNIST's: labels are arrays."""

    def write(folder):
        (folder / "own_items.py").write_text(MODULE.format(channels=channels, labels=labels))

    return write


ITEMS = {"source": "factory", "factory": "own_items:items"}
FACTORIES = {
    "data set with labels `array([3])` and grey images (MedMNIST)": Kind(medmnist(1, 1), ITEMS, channels=1),
    "data set with several labels per image (ChestMNIST)": Kind(medmnist(1, 14), ITEMS, "has 14 labels"),
}
KINDS = {**FOLDERS, **PARQUET, **FACTORIES}
