"""Data sets in folders, in parquet files and in classes, as others lay them out: see tests/data_kinds_folders.py."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featurepaths.data.sources import FILES, contents_of_source, open_source
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from tests import data_kinds_folders as kinds
from tests.data.splits import everything
from tests.experiments import small_experiment


def section(data):
    """Return a section `data` of a configuration, checked."""
    return read_experiment(small_experiment("kinds", data=dict(data))).data


@pytest.fixture(params=kinds.KINDS)
def kind(request, tmp_path, monkeypatch):
    """A kind, written to the working directory."""
    if request.param in kinds.PARQUET:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_items", raising=False)
    selected = kinds.KINDS[request.param]
    selected.write(tmp_path)
    return selected


def read(data, folder):
    with ThreadPoolExecutor(2) as pool, open_source(data, folder, pool) as (parts, names, _):
        return {part: everything(parts, part) for part in parts}, names


def test_kind_is_read_or_refused_as_the_page_says(kind, tmp_path, capsys):
    data = section(kind.data)
    if kind.outcome != "read":
        with pytest.raises(FeaturePathsError, match=kind.outcome):
            read(data, tmp_path)
        return
    parts, names = read(data, tmp_path)
    printed = capsys.readouterr().out
    assert kind.said in printed
    assert bool(kind.said) == ("Note: " in printed or "Warning: " in printed)
    assert len(names) == 2
    for part, (images, labels) in parts.items():
        expected, classes = kinds.truth(part, channels=kind.channels)
        assert labels.tolist() == classes.tolist()
        assert images.shape == expected.shape if kind.same else images.shape[1:] == (32, 32, 3)
        assert not kind.same or (images == expected).all()
    if data.source in FILES:
        contents = contents_of_source(data)
        assert (contents.images, contents.classes, contents.channels) == (12, 2, kind.channels)


def written(folder, **changes):
    """Write the shards of a parquet data set to a folder, and return its section."""
    kinds.hugging_face(kinds.DECLARED, shards=2)(folder)
    patterns = {part: str(folder / f"{part}-*.parquet") for part in kinds.COUNTS}
    return section({"source": "parquet", **patterns, **changes})


@pytest.fixture
def shards(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    return written(tmp_path)


def test_parquet_rows_across_groups_and_files_equal_whole(shards, tmp_path):
    with ThreadPoolExecutor(2) as pool, open_source(shards, tmp_path, pool) as (parts, names, provenance):
        images, _ = parts["train"]
        expected, _ = kinds.truth("train")
        for rows in ([0], [7], [2, 3, 4], [1, 6], list(range(8))):
            assert (images[np.array(rows)] == expected[rows]).all()
        assert (names, provenance) == (list(kinds.NAMES), "parquet")


def test_parquet_digest_depends_on_contents_not_on_place(shards, tmp_path, tmp_path_factory):
    before = contents_of_source(shards)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert contents_of_source(written(elsewhere)) == before
    first, second = sorted(elsewhere.glob("train-*"))
    first.rename(elsewhere / "train-00009-of-00002.parquet")
    moved = section({"source": "parquet", **{part: str(elsewhere / f"{part}-*.parquet") for part in kinds.COUNTS}})
    assert contents_of_source(moved).digest != before.digest, "another order"
    assert second.exists()
    assert moved.recipe() == shards.recipe(), "where files lie is not in the settings' digest"


def test_parquet_damaged_files_are_refused(shards, tmp_path):
    whole = (tmp_path / "train-00000-of-00002.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-20], whole[:200] + b"\xff" * 200 + whole[400:]):
        (tmp_path / "train-00000-of-00002.parquet").write_bytes(content)
        with pytest.raises(FeaturePathsError, match=r"train-00000-of-00002\.parquet"):
            read(shards, tmp_path)


def test_parquet_images_are_resized_as_in_a_folder(shards, tmp_path):
    kinds.folders()(tmp_path)
    folder = section({"source": "folder", "root": str(tmp_path / "images"), "size": 40})
    ours, theirs = (read(data, tmp_path)[0] for data in (written(tmp_path, size=40), folder))
    assert ours["test"][0].shape == (4, 40, 40, 3)
    assert all((ours[part][0] == theirs[part][0]).all() for part in kinds.COUNTS)


def test_parquet_agrees_with_pandas(shards, tmp_path):
    """An independent reader of the same files."""
    table = pd.concat(map(pd.read_parquet, sorted(tmp_path.glob("train-*"))))
    images, labels = read(shards, tmp_path)[0]["train"]
    assert labels.tolist() == table["label"].tolist()
    for image, struct in zip(images, table["img"], strict=True):
        assert (image == np.asarray(Image.open(io.BytesIO(struct["bytes"])))).all()


def test_parquet_labels_that_are_null_are_told(tmp_path):
    for label, said in ((lambda _: None, "no image has a label"), (lambda label: label or None, "4 images have no")):
        kinds.hugging_face(kinds.DECLARED, label=label)(tmp_path)
        with pytest.raises(FeaturePathsError, match=said):
            contents_of_source(section(kinds.FILES | {p: str(tmp_path / f"{p}.parquet") for p in kinds.COUNTS}))


def test_parquet_pattern_that_is_none_is_told():
    with pytest.raises(FeaturePathsError, match="is no pattern of files"):
        contents_of_source(section(kinds.FILES | {"train": "data/**.parquet"}))


def test_pictures_in_other_formats_and_with_damaged_exif_are_refused(tmp_path):
    kinds.folders()(tmp_path)
    picture = tmp_path / "images/train/cat/cat1.png"
    data = section({"source": "folder", "root": str(tmp_path / "images")})
    image, exif = Image.open(picture), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    image.save(bitmap := io.BytesIO(), "BMP")
    image.rotate(90).save(turned := io.BytesIO(), "PNG", exif=exif)
    damaged = turned.getvalue().replace(b"\x01\x0f\x00\x02", b"\x01\x0f\x00\x05")
    for content in (bitmap.getvalue(), damaged):
        picture.write_bytes(content)
        with pytest.raises(FeaturePathsError, match=r"cat1\.png"):
            read(data, tmp_path)


def test_parquet_one_file_for_both_parts_is_refused(shards, tmp_path):
    data = section({**shards.model_dump(), "test": shards.train})
    with pytest.raises(FeaturePathsError, match=r"train-00000-of-00002\.parquet would hold both"):
        contents_of_source(data)


def test_parquet_without_pyarrow_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for part in kinds.COUNTS:
        (tmp_path / f"{part}.parquet").write_bytes(b"")
    data = section({"source": "parquet", **{part: str(tmp_path / f"{part}.parquet") for part in kinds.COUNTS}})
    with pytest.raises(FeaturePathsError, match="pip install pyarrow"):
        contents_of_source(data)


def test_tiny_imagenet_annotations_are_checked_and_fingerprinted(tmp_path):
    kinds.tiny_imagenet(tmp_path)
    data = section({"source": "folder", "root": str(tmp_path / "images")})
    before = contents_of_source(data)
    file = tmp_path / "images/val/val_annotations.txt"
    lines = file.read_text().splitlines()
    swapped = [line.replace("cat", "-").replace("dog", "cat").replace("-", "dog") for line in lines]
    file.write_text("\n".join(swapped))
    assert contents_of_source(data).digest != before.digest, "the same images with other labels"
    for wrong in (lines[1:], [*lines, "other.JPEG\tcat"], ["val_0.JPEG"]):
        file.write_text("\n".join(wrong))
        with pytest.raises(FeaturePathsError, match=r"val_annotations\.txt"):
            contents_of_source(data)
