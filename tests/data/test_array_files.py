import json
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from featurepaths.data.array_files import contents_of_arrays, open_parts
from featurepaths.data.array_formats import array_in, open_arrays
from featurepaths.data.images import as_levels, checked_names, images_of, labels_of, layout_of
from featurepaths.data.size import Contents
from featurepaths.errors import FeaturePathsError
from featurepaths.store import fingerprints as contents
from featurepaths.store.fingerprints import last_look
from tests.data.splits import assert_written_splits_are_equal, everything


def pixels(count=12, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def write(path, **arrays):
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values, chunks=True, compression="gzip")
    return path


@contextmanager
def parts_of(train, test, keys=None, layout=None, size=None, class_names=None):
    with open_parts({"train": train, "test": test}, keys or {}, layout, size, class_names) as (parts, names):
        yield parts, names


def test_arrays_labels_from_1_are_refused(tmp_path):
    path, images = tmp_path / "made.npz", np.zeros((4, 8, 8), np.uint8)
    arrays = {f"{part}_images": images + (part == "test") for part in ("train", "test")}
    np.savez(path, **arrays, train_labels=[1, 2, 1, 2], test_labels=[1, 2, 1, 2])
    with (
        pytest.raises(FeaturePathsError, match=r"data\.first_label: 1"),
        open_parts({"train": path, "test": path}, {}, None, None, None),
    ):
        pass


@pytest.fixture(params=["npz", "h5"])
def one(request, tmp_path):
    """One file with all four arrays."""
    labels = np.arange(12) % 3
    return write(tmp_path / f"one.{request.param}", train_images=pixels(), train_labels=labels,
                 test_images=pixels(6, seed=1), test_labels=labels[:6])  # fmt: skip


def test_arrays_in_one_file_are_opened(one):
    with parts_of(one, one) as (parts, names):
        assert names == ["0", "1", "2"]
        for part, count, seed in (("train", 12, 0), ("test", 6, 1)):
            images, labels = everything(parts, part)
            assert images.dtype == np.uint8
            assert (images == pixels(count, seed=seed)).all()
            assert labels.tolist() == [0, 1, 2] * (count // 3)
        assert (parts["train"][0][np.array([1, 4, 5, 11])] == pixels()[[1, 4, 5, 11]]).all()


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_arrays_in_two_files_under_other_names_are_opened(tmp_path, suffix):
    train = write(tmp_path / f"train.{suffix}", images=pixels(), labels=np.arange(12) % 2)
    test = write(tmp_path / f"test.{suffix}", x=pixels(4, seed=1), y=np.arange(4)[:, None] % 2)
    with parts_of(train, test, {"test_images": "x", "test_labels": "y"}, class_names=["cat", "dog"]) as (parts, names):
        assert names == ["cat", "dog"]
        assert (everything(parts, "test")[0] == pixels(4, seed=1)).all()
        assert parts["test"][1].tolist() == [0, 1, 0, 1]


def test_arrays_written_as_splits_are_equal(one, tmp_path):
    with parts_of(one, one) as (parts, names):
        assert_written_splits_are_equal(tmp_path / "data.h5", parts, names, 6)


TYPES = {"uint8": 1, "int64": 1, "float16": 255, "float32": 255, "float64": 255}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["NHWC", "NCHW", "NHW"]),
    st.sampled_from(sorted(TYPES)),
    st.sampled_from([1, 3]),
    st.tuples(st.integers(4, 9), st.integers(4, 9)),
    st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True),
    st.integers(0, 99),
)
def test_images_in_every_layout_and_type_are_equal(layout, kind, channels, shape, rows, seed):
    channels = 1 if layout == "NHW" else channels
    expected = pixels(10, (*shape, channels), seed)
    stored = {"NHWC": expected, "NCHW": expected.transpose(0, 3, 1, 2), "NHW": expected[..., 0]}[layout]
    stored = (stored / TYPES[kind]).astype(kind)
    images = images_of(stored, "made up")
    assert images.shape == expected.shape
    rows = np.sort(rows)
    levels = images[rows]
    assert levels.dtype == np.uint8
    assert (levels == expected[rows]).all()


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((9, 8, 8), None, "NHW"),
        ((9, 8, 8, 3), None, "NHWC"),
        ((9, 1, 8, 8), None, "NCHW"),
        ((9, 3, 8, 3), "NHWC", "NHWC"),
        ((9, 3, 8, 3), "NCHW", "NCHW"),
        ((9, 4, 8, 8), "NCHW", "NCHW"),
        ((9, 3, 8, 3), None, "both axis 1 and axis 3 could be"),
        ((9, 8, 8, 4), None, "neither axis 1 nor axis 3 could be"),
        ((9, 192), None, "images are"),
        ((9,), "NCHW", "images are"),
    ],
)
def test_layout_is_inferred_or_required(shape, layout, expected):
    if expected.isupper():
        assert layout_of(shape, layout, "images") == expected
    else:
        with pytest.raises(FeaturePathsError, match=expected):
            layout_of(shape, layout, "images")


def with_one(value, kind):
    images = np.zeros((5, 4, 4), kind)
    images[3, 1, 2] = value
    return images


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (with_one(np.nan, float), "holds nan in image 13: "),
        (with_one(np.inf, "float32"), "holds inf in image 13"),
        (with_one(1e308, float), "holds 1e.308 in image 13"),
        (with_one(-0.1, float), r"holds -0\.1 in image 13: floats should lie in \[0, 1\]"),
        (with_one(255.0, float), r"holds 255\.0 in image 13: .*divide levels of 0 to 255 by 255"),
        (with_one(0.5, float), r"holds 0\.5 in image 13: it lies between the 256 levels .*np\.round"),
        (with_one(256, int), "holds 256 in image 13: whole numbers should be levels"),
        (with_one(-1, "int8"), "holds -1 in image 13"),
        (with_one(1, bool), "holds bool"),
        (with_one(1, complex), "holds complex128"),
    ],
)
def test_images_not_representable_as_uint8_are_rejected(images, expected):
    with pytest.raises(FeaturePathsError, match=expected):
        as_levels(images, "train_images", np.arange(10, 15))


def test_images_with_rounded_floats_are_accepted():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for kind in ("float16", "float32", "float64"):
        assert (as_levels((levels / 255).astype(kind), "images", np.arange(1)) == levels).all()
    tolerated = levels / 255 + np.where(levels < 128, 0.09, -0.09) / 255
    assert (as_levels(tolerated, "images", np.arange(1)) == levels).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_resized_equal_those_of_folder(channels):
    images = pixels(3, (40, 80, channels))
    resized_images = images_of(images, "images", None, 32)
    assert resized_images.shape == (3, 32, 32, channels)
    for image, original in zip(resized_images[np.arange(3)], images, strict=True):
        picture = Image.fromarray(original.squeeze())
        expected = np.asarray(ImageOps.fit(picture, (32, 32), Image.Resampling.BILINEAR))
        assert (image.squeeze() == expected).all()


def test_images_of_target_size_are_unchanged():
    images = pixels(3, (32, 32, 3))
    assert (images_of(images, "images", None, 32)[np.arange(3)] == images).all()


def test_images_with_other_channels_are_not_resized():
    with pytest.raises(FeaturePathsError, match="has 4 channels; only images of 1 or 3"):
        images_of(pixels(2, (8, 8, 4)), "images", "NHWC", 32)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.zeros(4, int), r"has shape \(4,\), with 5 images"),
        (np.eye(5, dtype=int), r"has shape \(5, 5\), with 5 images: one label each\. Take the argmax"),
        (np.full(5, 0.5), r"holds float64; labels are whole numbers from 0"),
        (np.full(5, np.nan), "holds float64"),
        (np.array(["a"] * 5), "holds <U1"),
        (np.array([0, 1, -1, 0, 1]), "holds -1; number the classes from 0"),
        (np.array([0, 1, 2**63, 0, 1], np.uint64), "holds 9223372036854775808; number the classes"),
    ],
)
def test_labels_invalid_are_rejected(labels, expected):
    images = images_of(pixels(5), "images")
    with pytest.raises(FeaturePathsError, match=expected):
        labels_of(labels, images, "train_labels")


def test_class_names_fewer_than_labels_are_rejected():
    def parts(train, test):
        return {part: (pixels(len(labels)), np.array(labels)) for part, labels in (("train", train), ("test", test))}

    labels = parts([0, 3], [1, 2, 4])
    assert checked_names(labels, None) == ["0", "1", "2", "3", "4"]
    assert checked_names(labels, list("abcdef")) == list("abcdef"), "the writer of splits misses the images of f"
    with pytest.raises(FeaturePathsError, match=r"A label is 4, but class_names has only 4 \(from 0\)"):
        checked_names(labels, list("abcd"))
    with pytest.raises(FeaturePathsError, match="A label is 1000, but there are fewer images"):
        checked_names(parts([0, 1000], [0]), None)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_array_missing_error_names_it(tmp_path, suffix):
    labels = np.arange(12) % 2
    whole = write(tmp_path / f"whole.{suffix}", images=pixels(), labels=labels)
    lacking = write(tmp_path / f"lacking.{suffix}", x=pixels(), labels=labels)
    for train, keys, expected in [
        (lacking, {}, rf"lacking\.{suffix} has no array 'train_images' or 'images'; it has labels, x"),
        (lacking, {"train_images": "y"}, "has no array 'y'"),
        (whole, {}, r"'images' in .* would be both the training and the test images"),
        (tmp_path / "none.npz", {}, r"There is no file .*none\.npz"),
        (tmp_path, {}, "is a folder.*source: folder"),
    ]:
        with pytest.raises(FeaturePathsError, match=expected), parts_of(train, whole, keys):
            pass


def test_images_of_test_part_with_other_shape_are_rejected(tmp_path):
    train = write(tmp_path / "train.npz", images=pixels(), labels=np.arange(12) % 2)
    test = write(tmp_path / "test.npz", images=pixels(12, (9, 8, 3)), labels=np.arange(12) % 2)
    expected = r"Training images are 8x8x3, test images 9x8x3; set data\.size"
    with pytest.raises(FeaturePathsError, match=expected), parts_of(train, test):
        pass
    with parts_of(train, test, size=32) as (parts, _):
        assert parts["test"][0].shape == (12, 32, 32, 3)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_array_file_truncated_is_rejected(tmp_path, suffix):
    path = write(tmp_path / f"one.{suffix}", train_images=pixels(200), train_labels=np.arange(200) % 2,
                 test_images=pixels(20, seed=1), test_labels=np.arange(20) % 2)  # fmt: skip
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(FeaturePathsError, match=f"one.{suffix}"), parts_of(path, path) as (parts, _):
        everything(parts, "train")
    path.write_bytes(b"PK\x03\x04 nothing else")
    with pytest.raises(FeaturePathsError, match="an incomplete zip archive"), parts_of(path, path):
        pass


def test_array_with_damaged_values_is_rejected(tmp_path):
    path = write(tmp_path / "one.npz", images=pixels(500))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with open_arrays(path) as opened:
        images = array_in(opened, ("images",))
        with pytest.raises(FeaturePathsError, match=r"'images' in .*one\.npz cannot be read"):
            images[np.arange(500)]


def refused_array(path, expected, name="images"):
    with open_arrays(path) as opened, pytest.raises(FeaturePathsError, match=expected):
        array_in(opened, (name,))


def test_array_of_objects_is_not_loaded(tmp_path):
    """Loading a pickle runs the code in it."""
    np.savez(tmp_path / "one.npz", images=np.array([{"an": "object"}], dtype=object), labels=np.zeros(1, int))
    refused_array(tmp_path / "one.npz", r"'images' in .* cannot be read \(it holds pickled objects")
    refused_array(write(tmp_path / "text.npz", images=np.array(["a"])), "holds <U1; it should hold numbers")


def test_array_in_column_order_is_rejected(tmp_path):
    np.savez(tmp_path / "one.npz", images=np.asfortranarray(pixels()))
    refused_array(tmp_path / "one.npz", r"stored by columns; store np\.ascontiguousarray")


def test_array_header_with_huge_shape_takes_no_memory(tmp_path):
    """The shape says petabytes; the file holds a few bytes."""
    with zipfile.ZipFile(tmp_path / "one.npz", "w") as file, file.open("images.npy", "w") as member:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 32, 32, 3)}
        np.lib.format.write_array_header_1_0(member, header)
        member.write(b"few")
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file.create_dataset("images", (10**12, 32, 32, 3), np.uint8, chunks=(1, 32, 32, 3))
    for name in ("one.npz", "one.h5"):
        refused_array(tmp_path / name, r"its shape \(1000000000000, 32, 32, 3\) is more than the file holds")


def test_npy_header_with_huge_shape_takes_no_memory(tmp_path):
    with (tmp_path / "one.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 32, 32, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"few")
    refused_array(tmp_path / "one.npy", r"its shape \(1000000000000, 32, 32, 3\) is more than the file holds")


def test_npy_truncated_is_rejected(tmp_path):
    np.save(tmp_path / "one.npy", pixels())
    content = (tmp_path / "one.npy").read_bytes()
    (tmp_path / "one.npy").write_bytes(content[:-1])
    refused_array(tmp_path / "one.npy", "more than the file holds")
    (tmp_path / "one.npy").write_bytes(content[:20])
    refused_array(tmp_path / "one.npy", r"one\.npy cannot be read")


def test_npy_rows_in_any_gaps_are_read(tmp_path):
    np.save(tmp_path / "one.npy", pixels())
    with open_arrays(tmp_path / "one.npy") as opened:
        rows = array_in(opened, ("images",))
        for wanted in ([0], [0, 1, 5], [3, 7, 11], list(range(12))):
            assert (rows[np.array(wanted)] == pixels()[wanted]).all()


def test_scalar_is_no_array(tmp_path):
    np.savez(tmp_path / "one.npz", images=3)
    torch.save({"images": torch.tensor(3)}, tmp_path / "one.pt")
    refused_array(tmp_path / "one.npz", "it is no array")
    refused_array(tmp_path / "one.pt", "no such array")


def test_tensor_of_more_than_its_storage_takes_no_memory(tmp_path):
    """An expanded tensor, and one whose pickled size is not that of its storage."""
    images = torch.zeros(12, 8, 8, 3, dtype=torch.uint8)
    torch.save({"images": torch.zeros(1, 8, 8, 3).expand(10**9, 8, 8, 3)}, tmp_path / "expanded.pt")
    refused_array(tmp_path / "expanded.pt", r"its shape .*1000000000.* is more than the file holds")
    torch.save(images, tmp_path / "one.pt")
    with zipfile.ZipFile(tmp_path / "one.pt") as whole, zipfile.ZipFile(tmp_path / "more.pt", "w") as more:
        for name in whole.namelist():
            content = whole.read(name)
            more.writestr(name, content.replace(b"K\x0cK\x08K\x08K\x03", b"J\0\0\0\x7fK\x08K\x08K\x03"))
    with pytest.raises(FeaturePathsError, match=r"more\.pt"), open_arrays(tmp_path / "more.pt") as opened:
        array_in(opened, ("images",))


def test_tensor_with_damaged_values_is_rejected(tmp_path):
    torch.save(torch.from_numpy(pixels(500)), tmp_path / "one.pt")
    content = bytearray((tmp_path / "one.pt").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "one.pt").write_bytes(content)
    with pytest.raises(FeaturePathsError, match=r"one\.pt cannot be read"), open_arrays(tmp_path / "one.pt"):
        pass


def test_planning_imports_torch_only_for_its_files(tmp_path):
    labels = np.arange(12) % 2
    np.savez(
        tmp_path / "one.npz", train_images=pixels(), train_labels=labels, test_images=255 - pixels(), test_labels=labels
    )
    for part, images in (("train", pixels()), ("test", 255 - pixels())):
        torch.save((torch.from_numpy(images), torch.from_numpy(labels)), tmp_path / f"{part}.pt")
    code = (
        "import sys; from featurepaths.data.array_files import contents_of_arrays\n"
        "contents_of_arrays(dict(train=sys.argv[1], test=sys.argv[2]), {}, None, None, None)\n"
        "print('torch' in sys.modules)"
    )
    for names, expected in ((("one.npz", "one.npz"), "False"), (("train.pt", "test.pt"), "True")):
        command = [sys.executable, "-c", code, *(tmp_path / name for name in names)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == expected


def corrupted(folder, severity):
    """The contents of one severity of images that are numbered by their values, and its images."""
    np.save(folder / "fog.npy", np.repeat(np.arange(10, dtype=np.uint8), 64).reshape(10, 8, 8))
    np.save(folder / "labels.npy", np.tile([0, 1], 5))
    train = write(folder / "train.npz", images=pixels(4, (8, 8)), labels=np.arange(4) % 2)
    test = {"images": folder / "fog.npy", "labels": folder / "labels.npy", "severity": severity}
    with parts_of(train, test) as (parts, _):
        contents = contents_of_arrays({"train": train, "test": test}, {}, None, None, None)
        return contents, everything(parts, "test")[0][:, 0, 0, 0].tolist()


def test_severity_is_a_fifth_of_the_rows_and_counts_in_the_digest(tmp_path):
    rows = {severity: corrupted(tmp_path, severity)[1] for severity in (None, 1, 2, 3, 4, 5)}
    assert rows == {None: list(range(10)), 1: [0, 1], 2: [2, 3], 3: [4, 5], 4: [6, 7], 5: [8, 9]}
    assert len({corrupted(tmp_path, severity)[0].digest for severity in rows}) == len(rows)
    assert corrupted(tmp_path, 2)[0].images == 4 + 2


def test_severity_of_rows_that_are_no_five_parts_is_rejected(tmp_path):
    np.save(tmp_path / "images.npy", pixels(12))
    np.save(tmp_path / "labels.npy", np.arange(12) % 2)
    pair = {"images": tmp_path / "images.npy", "labels": tmp_path / "labels.npy"}
    with pytest.raises(FeaturePathsError, match=r"images\.npy has 12 rows"), parts_of({**pair, "severity": 1}, pair):
        pass


def test_severities_of_one_file_may_be_training_and_test_images(tmp_path):
    np.save(tmp_path / "images.npy", pixels(10))
    np.save(tmp_path / "labels.npy", np.arange(10) % 2)
    pair = {"images": tmp_path / "images.npy", "labels": tmp_path / "labels.npy"}
    with parts_of({**pair, "severity": 1}, {**pair, "severity": 2}) as (parts, _):
        assert (everything(parts, "test")[0] == pixels(10)[2:4]).all()
    with pytest.raises(FeaturePathsError, match="both the training and the test"), parts_of(pair, pair):
        pass


@pytest.mark.parametrize("labels", [[0, 1, 2, 1], [[1], [2], [3], [0]]])
def test_first_label_refuses_a_smaller_one(labels):
    with pytest.raises(FeaturePathsError, match="holds 0; number the classes from 1"):
        labels_of(np.array(labels), images_of(pixels(4), "images"), "train_labels", 1)


def test_array_in_another_hdf5_file_is_rejected(tmp_path):
    """A digest of the named file would not cover the other file."""
    other = write(tmp_path / "other.h5", images=pixels())
    layout = h5py.VirtualLayout((12, 8, 8, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(other), "images", (12, 8, 8, 3))
    (tmp_path / "raw").write_bytes(pixels().tobytes())
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["external"] = h5py.ExternalLink(str(other), "images")
        file["whole"] = h5py.ExternalLink(str(other), "/")
        file["soft"] = h5py.SoftLink("/external")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("raw", (12, 8, 8, 3), np.uint8, external=[(str(tmp_path / "raw"), 0, 12 * 192)])
        file["group/images"] = pixels()
        file["scalar"] = 3
        file["empty"] = h5py.Empty("f")
    for name, expected in [("external", "is a link"), ("soft", "is a link"), ("virtual", "in another file"),
                               ("raw", "in another file"), ("group", "is no array"), ("scalar", "is no array"),
                               ("empty", "is no array"), ("whole/images", "has no array")]:  # fmt: skip
        refused_array(tmp_path / "one.h5", expected, name)
    with open_arrays(tmp_path / "one.h5") as opened:
        assert (array_in(opened, ("group/images",))[np.arange(12)] == pixels()).all()


def test_images_above_piece_size_are_read_in_pieces(one, monkeypatch):
    monkeypatch.setattr("featurepaths.data.images.BYTES_AT_A_TIME", 8 * 192 * 5)
    with parts_of(one, one) as (parts, _):
        assert (everything(parts, "train")[0] == pixels()).all()


def look(path, memory=None):
    return contents_of_arrays({"train": path, "test": path}, {}, None, None, None, memory=memory)


def test_array_digest_depends_on_contents_not_path(one, tmp_path):
    before = look(one)
    assert (before.images, before.classes, before.height, before.width) == (18, 3, 8, 8)
    moved = one.rename(tmp_path / f"moved{one.suffix}")
    assert look(moved) == before
    write(moved, train_images=pixels(seed=5), train_labels=np.arange(12) % 3, test_images=pixels(6, seed=1),
          test_labels=np.arange(6) % 3)  # fmt: skip
    assert look(moved) != before


def test_array_files_unchanged_are_not_read_again(one, tmp_path, monkeypatch):
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 10**11)  # nothing was changed just now
    memory = tmp_path / "memory.json"
    size = look(one, memory)
    assert Contents(**last_look(memory)) == size
    assert list(json.loads(memory.read_text())["files"]) == [str(one)]
    monkeypatch.setattr(contents, "digest_of_file", lambda path: pytest.fail("is read"))
    assert look(one, memory) == size
