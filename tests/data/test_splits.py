import pickle
from contextlib import ExitStack

import numpy as np
import pytest
from sklearn.datasets import load_digits as scikit_digits

from featurepaths.data.datasets import load_cifar, load_digits
from featurepaths.data.splits import normalisation, open_split, write_splits
from featurepaths.errors import FeaturePathsError
from featurepaths.store.origin import Origin

ORIGIN = Origin("data", "d", {})


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    parts, names = load_digits(32, 0.2, 0)
    write_splits(path, parts, names, 0.1, 0, ORIGIN, "here")
    with ExitStack() as stack:
        yield {name: stack.enter_context(open_split(path, name)) for name in ("train", "calibration", "test")}


def test_splits_of_data_set_are_disjoint_and_complete(digits):
    rows = np.concatenate([part.indices for part in digits.values()])
    assert len(np.unique(rows)) == len(rows) == 1797
    # an image that stood in two splits would show up in two of these sets; the digits hold no two equal images
    contents = [{image.tobytes() for image in part[:]} for part in digits.values()]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 1797


def test_splits_of_classes_are_stratified(digits):
    total = np.bincount(scikit_digits().target)
    for part, share in (("test", 0.2), ("calibration", 0.08), ("train", 0.72)):
        assert np.abs(np.bincount(digits[part].labels) - share * total).max() <= 1.5, part


def test_digits_images_are_enlarged(digits):
    image = digits["test"][:]
    assert image.shape == (360, 32, 32, 3)
    assert image.dtype == np.uint8
    assert (image[..., 0] == image[..., 1]).all()
    # averaging each 4x4 square of a bilinear enlargement comes near the pixel it grew from
    small = image[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    original = scikit_digits().images * 255 / 16
    distance = ((small[:, None] - original[None]) ** 2).mean(axis=(2, 3))
    assert (scikit_digits().target[distance.argmin(axis=1)] == digits["test"].labels).all()


def test_splits_depend_on_seed():
    first, _ = load_digits(32, 0.2, 0)
    again, _ = load_digits(32, 0.2, 0)
    other, _ = load_digits(32, 0.2, 1)
    assert (first["test"][0] == again["test"][0]).all()
    assert not (first["test"][0] == other["test"][0]).all()


def test_normalisation_equals_mean_and_deviation_per_channel():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    images[..., 2] = 7
    means, deviations = normalisation(images)
    np.testing.assert_allclose(means, (images / 255).mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(deviations[:2], (images / 255).std(axis=(0, 1, 2), ddof=1)[:2])
    assert deviations[2] == 1, "nothing is divided by zero"


def test_splits_without_calibration_omit_it(tmp_path):
    parts, names = load_digits(32, 0.2, 0)
    sizes = write_splits(tmp_path / "data.h5", parts, names, 0, 0, ORIGIN, "here")
    assert sizes == {"train": 1437, "calibration": 0, "test": 360}
    message = r"no calibration images: set data\.calibration above 0"
    with pytest.raises(FeaturePathsError, match=message), open_split(tmp_path / "data.h5", "calibration"):
        pass


def test_split_with_limit_is_evenly_spaced(tmp_path):
    parts, names = load_digits(32, 0.2, 0)
    write_splits(tmp_path / "data.h5", parts, names, 0.1, 0, ORIGIN, "here")
    with open_split(tmp_path / "data.h5", "test") as all_images, open_split(tmp_path / "data.h5", "test", 7) as limited:
        assert (limited.indices - all_images.indices[0]).tolist() == [0, 51, 102, 154, 205, 257, 308]  # 360 n // 7
        assert (limited.labels == all_images.labels[limited.indices - all_images.indices[0]]).all()
        assert (limited[:] == all_images[limited.indices - all_images.indices[0]]).all()
        assert limited[2:4].shape == (2, 32, 32, 3)
    with open_split(tmp_path / "data.h5", "test", 1000) as more:
        assert len(more) == 360


def test_splits_above_chunk_size_are_written_and_normalised(tmp_path, monkeypatch):
    """Artefact and statistics do not depend on the chunk size."""
    parts, names = load_digits(32, 0.2, 0)
    write_splits(tmp_path / "one.h5", parts, names, 0.1, 0, ORIGIN, "here")
    monkeypatch.setattr("featurepaths.data.splits.CHUNK", 100)
    write_splits(tmp_path / "two.h5", parts, names, 0.1, 0, ORIGIN, "here")
    with open_split(tmp_path / "one.h5", "train") as one, open_split(tmp_path / "two.h5", "train") as two:
        assert (one[:] == two[:]).all()
        assert normalisation(two) == normalisation(one[:])


@pytest.mark.parametrize(("greatest", "warned"), [(1, True), (15, True), (255, False)])
def test_splits_of_few_levels_are_reported(tmp_path, capsys, greatest, warned):
    images, labels = np.full((8, 4, 4, 1), greatest, np.uint8), np.arange(8) % 2
    write_splits(
        tmp_path / "data.h5", dict.fromkeys(("train", "test"), (images, labels)), ["0", "1"], 0.5, 0, ORIGIN, ""
    )
    assert (f"is {greatest} of 255" in capsys.readouterr().out) == warned


def test_splits_with_empty_class_name_it(tmp_path):
    images = np.zeros((20, 4, 4, 3), np.uint8)
    parts = {"train": (images, np.arange(20) % 2), "test": (images[:4], np.zeros(4, int))}
    with pytest.raises(FeaturePathsError, match="test split has no image of class dog"):
        write_splits(tmp_path / "data.h5", parts, ["cat", "dog"], 0.5, 0, ORIGIN, "here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "folder", "batches", "key", "meta"),
    [
        (
            "cifar10",
            "cifar-10-batches-py",
            {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]},
            "labels",
            ("batches.meta", "label_names"),
        ),
        (
            "cifar100",
            "cifar-100-python",
            {"train": ["train"], "test": ["test"]},
            "fine_labels",
            ("meta", "fine_label_names"),
        ),
    ],
)
def test_cifar_files_are_read(tmp_path, monkeypatch, source, folder, batches, key, meta):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / folder
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in batches["train"] + batches["test"]:
        batch = {"data": generator.integers(0, 256, (20, 3072), np.uint8), key: list(range(10)) * 2}
        (folder / name).write_bytes(pickle.dumps(batch))
    classes = [f"class {number}" for number in range(10)]
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: classes}))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    parts, names = load_cifar(source, str(tmp_path), download=False)
    assert names == classes
    assert parts["train"][0].shape == (20 * len(batches["train"]), 32, 32, 3)
    assert parts["test"][1].tolist() == list(range(10)) * 2
    stored = pickle.loads((folder / batches["test"][0]).read_bytes())["data"]
    assert (parts["test"][0][3, 5, 7] == stored[3].reshape(3, 32, 32)[:, 5, 7]).all()


@pytest.mark.parametrize("source", ["cifar10", "cifar100"])
def test_cifar_missing_files_are_reported(tmp_path, source):
    with pytest.raises(FeaturePathsError, match=r"data\.root.*download: true"):
        load_cifar(source, str(tmp_path), download=False)


def test_cifar_failed_download_is_reported(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(FeaturePathsError, match="no network"):
        load_cifar("cifar10", str(tmp_path), download=True)
