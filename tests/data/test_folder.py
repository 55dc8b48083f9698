import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from featurepaths.data.folder import contents_of, load_folder
from featurepaths.data.size import Contents
from featurepaths.errors import FeaturePathsError
from featurepaths.store import fingerprints as contents
from featurepaths.store.fingerprints import last_look
from tests.data.splits import assert_written_splits_are_equal, everything
from tests.data_kinds_folders import png_of_16_bits


@pytest.fixture
def folder(tmp_path):
    """Two classes of 8x8 PNG images, four each for training and two for testing."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in ("dog", "cat"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as executor:
        yield executor


def test_folder_images_equal_files(folder, pool):
    parts, names = load_folder(folder, None, pool)
    assert names == ["cat", "dog"]
    images, labels = everything(parts, "train")
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert (images[5] == np.asarray(Image.open(folder / "train/dog/1.png"))).all()
    assert parts["test"][0].shape == (4, 8, 8, 3)


def test_folder_images_agree_with_torchvision(folder, pool):
    from torchvision.datasets import ImageFolder

    parts, names = load_folder(folder, None, pool)
    theirs = ImageFolder(folder / "train")
    assert theirs.classes == names
    images, labels = everything(parts, "train")
    for number, (image, label) in enumerate(theirs):
        assert (np.asarray(image) == images[number]).all()
        assert label == labels[number]


def test_folder_grey_and_opaque_images_become_rgb(folder, pool):
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(folder / "train/cat/0.png")
    opaque = np.full((8, 8, 4), 99, np.uint8)
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(folder / "train/cat/1.png")
    images, _ = everything(load_folder(folder, None, pool)[0], "train")
    assert (images[0] == 77).all()
    assert (images[1] == 99).all()


def test_folder_classes_named_by_numbers_are_reported_and_ordered(folder, pool, capsys):
    for part in ("train", "test"):
        (folder / part / "cat").rename(folder / part / "10")
        (folder / part / "dog").rename(folder / part / "2")
    assert load_folder(folder, None, pool)[1] == ["10", "2"]
    assert "class_names" in capsys.readouterr().out
    parts, names = load_folder(folder, None, pool, ["2", "10"])
    images, labels = everything(parts, "train")
    assert names == ["2", "10"]
    assert not capsys.readouterr().out
    assert (images[0] == np.asarray(Image.open(folder / "train/2/0.png"))).all()
    assert labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("names", [["cat", "cow"], ["cat", "dog", "dog"]])
def test_folder_other_class_names_are_refused(folder, pool, names):
    with pytest.raises(FeaturePathsError, match=r"data\.class_names"):
        load_folder(folder, None, pool, names)
    with pytest.raises(FeaturePathsError, match=r"data\.class_names"):
        contents_of(folder, class_names=names)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_folder_16_bit_image_is_refused(folder, pool, colour_type, channels):
    (folder / "train/cat/2.png").write_bytes(png_of_16_bits(colour_type, channels))
    with pytest.raises(FeaturePathsError, match=r"train/cat/2\.png: .*8 bits"):
        everything(load_folder(folder, None, pool)[0], "train")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_folder_transparent_image_is_refused(folder, pool, mode):
    image = Image.fromarray(np.full((8, 8, 4), 99, np.uint8))
    options = {"transparency": 0} if mode == "P" else {}
    (image.convert("RGB") if mode == "P" else image).convert(mode).point(lambda x: 0 if mode == "P" else x).save(
        folder / "train/cat/2.png", **options
    )
    with pytest.raises(FeaturePathsError, match=r"train/cat/2\.png: .*transparent"):
        everything(load_folder(folder, None, pool)[0], "train")


@pytest.mark.parametrize(("orientation", "turn"), [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))])
def test_folder_exif_orientation_is_applied(folder, pool, orientation, turn):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)
    for file in folder.glob("*/*/*.png"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(file, exif=exif)
    images, _ = everything(load_folder(folder, None, pool)[0], "train")
    assert (images == turn(pixels)).all()
    contents = contents_of(folder)
    assert (contents.height, contents.width) == turn(pixels).shape[:2]


def test_folder_images_of_other_sizes_are_cropped_and_resized(folder, pool):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 200  # the middle square
    Image.fromarray(pixels).save(folder / "train/cat/0.png")
    images, _ = everything(load_folder(folder, 32, pool)[0], "train")
    assert images.shape == (8, 32, 32, 3)
    assert (images[0, :, 1:-1] == 200).all()
    assert (images[0] > 150).all(), "the first and last columns are blended with their neighbours"
    expected = Image.open(folder / "train/cat/1.png").resize((32, 32), Image.Resampling.BILINEAR)
    assert (images[1] == np.asarray(expected)).all()


def test_folder_images_of_other_sizes_without_size_are_named(folder, pool):
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(folder / "train/dog/2.png")
    parts, _ = load_folder(folder, None, pool)
    with pytest.raises(FeaturePathsError, match=r"train/dog/2\.png: is 8x9, the first one 8x8; set data\.size"):
        everything(parts, "train")


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_folder_unreadable_images_are_named(folder, pool, content):
    broken = folder / "test/cat/1.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if content is None else content)
    (folder / "test/dog/0.png").write_bytes(b"nor this")
    parts, _ = load_folder(folder, None, pool)
    with pytest.raises(FeaturePathsError, match=r"(?s)test/cat/1\.png: cannot be read.*test/dog/0\.png: cannot be rea"):
        everything(parts, "test")


def test_folder_images_above_8_bits_are_rejected(folder, pool):
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(folder / "train/cat/3.png")
    parts, _ = load_folder(folder, None, pool)
    with pytest.raises(FeaturePathsError, match=r"cat/3\.png: has more than 8 bits"):
        everything(parts, "train")


def spoil(folder, how):
    match how:
        case "no test":
            shutil.rmtree(folder / "test")
        case "a class only in test":
            (folder / "train/dog").rename(folder / "train/wolf")
        case "empty class":
            (folder / "train/fox").mkdir()
        case "outside a class":
            shutil.copy(folder / "train/cat/0.png", folder / "train/lost.png")
        case "other files":
            (folder / "train/cat/notes.txt").write_text("hello")
        case "too deep":
            (folder / "train/cat/more").mkdir()
        case "link to nothing":
            (folder / "train/cat/9.png").symlink_to(folder / "nothing.png")
        case "no class":
            shutil.rmtree(folder / "train/dog")
            shutil.rmtree(folder / "train/cat")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no test", r"no folder .*test"),
        ("a class only in test", r"(?s)same classes.*train/dog.*test/wolf"),
        ("empty class", "train/fox: has no image"),
        ("outside a class", r"train/lost\.png: "),
        ("other files", r"cat/notes\.txt: no PNG or JPEG file"),
        ("too deep", "cat/more: no PNG or JPEG file"),
        ("link to nothing", r"cat/9\.png: no PNG or JPEG file"),
        ("no class", "train has no class"),
    ],
)
def test_folder_missing_or_misplaced_entry_is_named(folder, pool, how, message):
    spoil(folder, how)
    with pytest.raises(FeaturePathsError, match=message):
        load_folder(folder, None, pool)
    with pytest.raises(FeaturePathsError, match=message):
        contents_of(folder)


def test_folder_error_names_ten_files_and_counts_others(folder, pool):
    for number in range(25):
        (folder / f"train/cat/{number}.txt").write_text("")
    with pytest.raises(FeaturePathsError, match=r"\.\.\. and 15 more"):
        load_folder(folder, None, pool)


def test_folder_hidden_files_are_ignored(folder, pool):
    before = contents_of(folder)
    (folder / "train/.DS_Store").write_text("")
    (folder / "train/cat/.thumbnail").write_text("")
    assert len(load_folder(folder, None, pool)[0]["train"][1]) == 8
    assert contents_of(folder) == before


def test_folder_digest_depends_on_names_and_contents_not_path(folder, tmp_path_factory):
    before = contents_of(folder)
    assert (before.images, before.classes, before.height, before.width) == (12, 2, 8, 8)
    copy = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(folder, copy)
    assert contents_of(copy) == before
    (copy / "train/cat/0.png").rename(copy / "train/cat/9.png")
    assert contents_of(copy) != before
    image = folder / "test/dog/0.png"
    image.write_bytes(image.read_bytes()[:-1] + b"0")
    assert contents_of(folder) != before, "another byte, the size is the same"


def test_folder_unchanged_images_are_not_read_again(folder, tmp_path, monkeypatch):
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**11)  # nothing was changed just now
    memory = tmp_path / "memory.json"
    digest = contents_of(folder, memory)
    assert digest == contents_of(folder) == Contents(**last_look(memory))
    read = []
    real = contents.digest_of_file
    monkeypatch.setattr(contents, "digest_of_file", lambda path: read.append(path.name) or real(path))
    assert contents_of(folder, memory) == digest
    assert read == []
    image = folder / "train/cat/0.png"
    os.utime(image, (time.time() - 30, time.time() - 30))
    assert contents_of(folder, memory) == digest
    assert read == ["0.png"], "touched: it is read, and is the same"
    Image.new("RGB", (32, 32), "red").save(image)
    assert contents_of(folder, memory) != digest
    assert Contents(**last_look(memory)) == contents_of(folder)
    for spoiled in ("half a fi", "[]", "{}"):
        memory.write_text(spoiled)
        assert last_look(memory) is None
        assert contents_of(folder, memory) == contents_of(folder)


def test_folder_recently_changed_images_are_read_again(folder, tmp_path):
    memory = tmp_path / "memory.json"
    contents_of(folder, memory)
    assert json.loads(memory.read_text())["files"] == {}
    Image.new("RGB", (8, 8), "red").save(folder / "train/cat/0.png")
    assert contents_of(folder, memory) == Contents(**last_look(memory)) == contents_of(folder)


def test_folder_written_as_splits_is_equal(folder, pool, tmp_path):
    parts, names = load_folder(folder, None, pool)
    assert_written_splits_are_equal(tmp_path / "data.h5", parts, names, 4)
