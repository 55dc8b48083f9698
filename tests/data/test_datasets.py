import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import Dataset, TensorDataset

from featurepaths.data.datasets import TORCHVISION, load_made, load_torchvision, read_dataset
from featurepaths.errors import FeaturePathsError


def pixels(count=6, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


class Items(Dataset):
    """A data set of the items in a list, without a base class of torch."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def fake(root=None, download=False, common=None, size=None, folder=None, **parts):
    arguments = {"train": {"size": 6}, "test": {"size": 4, "random_offset": 6}} | parts
    common = {"image_size": [3, 8, 8], "num_classes": 3} if common is None else common
    arguments = {part: {**common, **own} for part, own in arguments.items()}
    return load_torchvision("FakeData", root, download, arguments, size, folder)


def test_torchvision_images_and_labels_are_read(tmp_path):
    from torchvision.datasets import FakeData

    parts, names = fake(folder=tmp_path)
    assert names == ["0", "1", "2"]
    for part, count, offset in (("train", 6, 0), ("test", 4, 6)):
        images, labels = parts[part]
        theirs = FakeData(count, (3, 8, 8), 3, random_offset=offset)
        assert images.shape == (count, 8, 8, 3)
        for row, (image, label) in enumerate(theirs):
            assert (images[np.array([row])][0] == np.asarray(image)).all()
            assert labels[row] == label
    assert list(tmp_path.iterdir()) == [], "the images lie in a file without a name"


def test_torchvision_images_are_resized(tmp_path):
    from torchvision.datasets import FakeData

    parts, _ = fake(common={"image_size": [3, 40, 60]}, size=32, folder=tmp_path)
    image, _ = FakeData(6, (3, 40, 60), random_offset=0)[2]
    expected = np.asarray(ImageOps.fit(image, (32, 32), Image.Resampling.BILINEAR))
    assert (parts["train"][0][np.array([2])][0] == expected).all()


def test_torchvision_data_set_with_root_has_class_names(tmp_path, monkeypatch):
    import torchvision

    class Owls(Items):
        classes = (("snowy owl", "Bubo scandiacus"), "barn owl")

        def __init__(self, root, split):
            assert root == "here"
            super().__init__([(Image.fromarray(image), row % 2) for row, image in enumerate(pixels(len(split)))])

    monkeypatch.setattr(torchvision.datasets, "SVHN", Owls)
    parts, names = load_torchvision("SVHN", "here", False, {"train": {}, "test": {"split": "other"}}, None, tmp_path)
    assert names == ["snowy owl", "barn owl"]
    assert [len(labels) for _, labels in parts.values()] == [len("train"), len("other")]


def test_torchvision_errors_are_reported(tmp_path):
    with pytest.raises(FeaturePathsError, match="unexpected keyword argument 'image_sise'"):
        fake(common={"image_sise": [3, 8, 8]}, folder=tmp_path)
    with pytest.raises(FeaturePathsError, match=r"SVHN cannot be opened with .*'split': 'train'.*data\.download: true"):
        load_torchvision("SVHN", str(tmp_path), False, {"train": {}, "test": {}}, None, tmp_path)


def test_torchvision_table_names_exist():
    import inspect

    from torchvision import datasets

    for name, parts in TORCHVISION.items():
        assert name in datasets.__all__
        accepted = inspect.signature(getattr(datasets, name)).parameters
        for arguments in parts:
            kinds = {parameter.kind for parameter in accepted.values()}
            assert set(arguments) <= set(accepted) or inspect.Parameter.VAR_KEYWORD in kinds, name


GREY = pixels(2, (8, 8))
COLOUR = pixels(2)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([Image.fromarray(image) for image in COLOUR], COLOUR),
        ([Image.fromarray(image) for image in GREY], GREY[..., None]),
        (list(COLOUR), COLOUR),
        (list(GREY), GREY[..., None]),
        (list(torch.from_numpy(COLOUR).permute(0, 3, 1, 2)), COLOUR),
        (list(torch.from_numpy(COLOUR).permute(0, 3, 1, 2) / 255), COLOUR),
        (list(torch.from_numpy(GREY)[:, None]), GREY[..., None]),
        ([Image.fromarray(COLOUR[0]), Image.fromarray(GREY[0])], np.stack([COLOUR[0], np.dstack([GREY[0]] * 3)])),
        ([Image.fromarray(COLOUR[0]).convert("RGBA")], COLOUR[:1]),
    ],
)  # fmt: skip
def test_items_as_pictures_arrays_or_tensors_are_read(tmp_path, images, expected):
    levels, labels = read_dataset(Items([(image, 1) for image in images]), None, "mine", tmp_path)
    assert levels.dtype == np.uint8
    assert (levels[np.arange(len(images))] == expected).all()
    assert labels.tolist() == [1] * len(images)


def test_items_with_any_integer_label_are_read(tmp_path):
    items = Items([(GREY[0], 1), (GREY[0], np.int32(2)), (GREY[0], torch.tensor(3)),
                   (GREY[0], np.array([4])), (GREY[0], torch.tensor([[5]]))])  # fmt: skip
    assert read_dataset(items, None, "mine", tmp_path)[1].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([(COLOUR[0], 0), (pixels(1, (9, 8, 3))[0], 0)], "item 1 of mine is 9x8x3, the first one 8x8x3; set data.size"),
        ([(GREY[0], 0), (COLOUR[0], 0)], "item 1 of mine is 8x8x3, the first one 8x8x1"),
        ([(GREY[0], 0.5)], "item 0 of mine has label 0.5; a label is one whole number, from 0"),
        ([(GREY[0], np.array([0, 1, 0]))], "item 0 of mine has 3 labels"),
        ([(GREY[0], np.array([0.5]))], "item 0 of mine has label array"),
        ([(GREY[0], np.array([], int))], "item 0 of mine has 0 labels"),
        ([(GREY[0], -1)], "item 0 of mine has label -1"),
        ([(GREY[0], None)], "item 0 of mine has label None"),
        ([(GREY[0], 0), GREY[0]], r"item 1 of mine is numpy.ndarray; every item should be"),
        ([("no image", 0)], "item 0 of mine"),
        ([(torch.zeros(3, 8, 8) - 1, 0)], r"item 0 of mine holds -1\.0 in image 0: floats should lie in"),
        ([(Image.fromarray(np.zeros((8, 8), np.uint16)), 0)], "item 0 of mine has more than 8 bits"),
        ([(torch.zeros(3, 8, 8, requires_grad=True), 0)], "item 0 of mine holds torch.Tensor that is no array"),
        ([], "mine is empty"),
    ],
)
def test_items_invalid_are_named(tmp_path, items, expected):
    with pytest.raises(FeaturePathsError, match=expected):
        read_dataset(Items(items), None, "mine", tmp_path)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return the result of a function in a module of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_data.py").write_text("load = None\ndef make(**arguments):\n    return load(**arguments)\n")

    def call(function, arguments=None, layout=None, size=None, first_label=0):
        import own_data

        own_data.load = function
        return load_made("own_data:make", arguments or {}, layout, size, tmp_path, first_label)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield call
    sys.modules.pop("own_data", None)


def test_factory_arrays_are_read(load):
    def make(count):
        return (pixels(count), np.arange(count) % 2), (pixels(4, seed=1), [0, 1, 0, 1]), ["cat", "dog"]

    parts, names = load(make, {"count": 8})
    assert names == ["cat", "dog"]
    assert (parts["train"][0][np.arange(8)] == pixels(8)).all()
    assert parts["test"][1].tolist() == [0, 1, 0, 1]


def test_factory_data_sets_are_read(load):
    images = torch.from_numpy(pixels().transpose(0, 3, 1, 2).copy())
    labels = torch.arange(6) % 3
    parts, names = load(lambda: (TensorDataset(images, labels), Items([(pixels(1)[0], 2)]), None))
    assert names == ["0", "1", "2"]
    assert (parts["train"][0][np.arange(6)] == pixels()).all()
    assert parts["train"][1].tolist() == [0, 1, 2, 0, 1, 2]
    assert parts["test"][1].tolist() == [2]


def test_factory_arrays_are_resized_and_laid_out(load):
    pair = pixels(2, (3, 32, 3)), np.arange(2)
    with pytest.raises(FeaturePathsError, match="both axis 1 and axis 3"):
        load(lambda: (pair, pair, None))
    parts, _ = load(lambda: (pair, pair, None), layout="NCHW", size=64)
    assert parts["train"][0].shape == (2, 64, 64, 3)


def test_factory_labels_from_1_are_counted_from_0(load):
    arrays, items = (pixels(2), np.array([2, 1])), Items([(pixels(1)[0], 2), (pixels(1)[0], 1)])
    parts, names = load(lambda: (arrays, items, ["cat", "dog"]), first_label=1)
    assert names == ["cat", "dog"]
    assert [labels.tolist() for _, labels in parts.values()] == [[1, 0], [1, 0]]
    with pytest.raises(FeaturePathsError, match=r"data\.first_label: 1"):
        load(lambda: (arrays, items, None))
    with pytest.raises(FeaturePathsError, match=r"item 0 .*label 0; a label is one whole number, from 1"):
        load(lambda: (arrays, Items([(pixels(1)[0], 0)]), None), first_label=1)


PAIR = pixels(2), np.arange(2)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, r"own_data:make should return \(train, test, class_names\), not builtins\.NoneType"),
        ((PAIR, PAIR), "not builtins.tuple of length 2"),
        (
            (PAIR, 3, None),
            r"test part of own_data:make is builtins\.int: neither \(images, labels\) nor a data set",
        ),
        (((pixels(2), np.arange(3)), PAIR, None), "labels of the train part of own_data:make has shape"),
        (((pixels(2) / 2, np.arange(2)), PAIR, None), "images of the train part of own_data:make holds"),
        (
            (([[1], [1, 2]], np.arange(2)), PAIR, None),
            "train part of own_data:make holds builtins.list of length 2",
        ),
        ((PAIR, (pixels(2, (9, 9, 3)), np.arange(2)), None), "Training images are 8x8x3, test images 9x9x3"),
        ((PAIR, PAIR, ["one"]), "class_names has only 1"),
    ],
)
def test_factory_invalid_result_is_reported(load, returned, expected):
    def read():
        parts, _ = load(lambda: returned)
        return parts["train"][0][np.arange(2)]

    with pytest.raises(FeaturePathsError, match=expected):
        read()
