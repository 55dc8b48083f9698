import errno
import json

import numpy as np
import pytest

from featurepaths.errors import FeaturePathsError
from featurepaths.storage import (
    Origin,
    atomic,
    create_hdf5,
    descend,
    layers_in,
    open_hdf5,
    read_json,
    read_origin,
    read_version,
    write_json,
)

ORIGIN = Origin("paths/mean/test", "abc", {"data": "123"})


def test_origin_survives_hdf5_and_json(tmp_path):
    with create_hdf5(tmp_path / "a.h5", ORIGIN) as file:
        file["x"] = np.arange(3)
    write_json(tmp_path / "a.json", {"x": 1}, ORIGIN)
    assert read_origin(tmp_path / "a.h5") == ORIGIN
    assert read_origin(tmp_path / "a.json") == ORIGIN


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.h5"
    with create_hdf5(path, ORIGIN) as file:
        file["x"] = 1
    with pytest.raises(ZeroDivisionError), create_hdf5(path, ORIGIN) as file:
        file["x"] = 1 / 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]
    with open_hdf5(path) as file:
        assert file["x"][()] == 1


def test_atomic_makes_folders_and_keeps_the_suffix(tmp_path):
    with atomic(tmp_path / "new/figure.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("x")
    assert (tmp_path / "new/figure.png").read_text() == "x"


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9])
def test_a_truncated_hdf5_file_is_named(tmp_path, keep):
    path = tmp_path / "a.h5"
    with create_hdf5(path, ORIGIN) as file:
        file["x"] = np.random.default_rng(0).normal(size=10_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(FeaturePathsError, match=r"a\.h5 cannot be read.*run snakemake again"), open_hdf5(path) as file:
        file["x"][:]


def test_a_full_disk_is_blamed_on_the_output_not_on_the_input(tmp_path):
    with create_hdf5(tmp_path / "in.h5", ORIGIN) as file:
        file["x"] = 1
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(FeaturePathsError, match=r"out\.h5 cannot be written \(No space left on device\)"),
        open_hdf5(tmp_path / "in.h5"),
        create_hdf5(tmp_path / "out.h5", ORIGIN),
    ):
        raise full
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5"]


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "No such file"), OSError("can't retrieve stat info for file")])
def test_a_folder_that_is_gone_is_named_however_the_error_says_so(tmp_path, error):
    path = tmp_path / "out/a.h5"

    def write():
        with atomic(path):
            path.parent.rmdir()
            raise error

    with pytest.raises(FeaturePathsError, match=r"out/a\.h5 cannot be written \(No such file or directory\)"):
        write()
    with pytest.raises(OSError, match=r"No such file|stat info"), atomic(path):  # the folder is there: it is another's
        raise error


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FeaturePathsError, match=r"file/a\.json cannot be written"):
        write_json(tmp_path / "file/a.json", {}, ORIGIN)


def test_two_poolings_are_refused(tmp_path):
    for pooling in ("mean", "flatten"):
        ancestors = {f"centroids/{pooling}": "c", "checkpoint": "k"}
        write_json(tmp_path / f"{pooling}.json", {}, Origin(f"paths/{pooling}/test", "p", ancestors))
    with pytest.raises(FeaturePathsError, match="different poolings"):
        descend("thresholds/mean/x", "t", [tmp_path / "mean.json", tmp_path / "flatten.json"])


def test_a_missing_file_and_a_missing_data_set_are_named(tmp_path):
    with pytest.raises(FeaturePathsError, match=r"none\.h5 does not exist"), open_hdf5(tmp_path / "none.h5"):
        pass
    with create_hdf5(tmp_path / "a.h5", ORIGIN):
        pass
    with pytest.raises(FeaturePathsError, match=r"a\.h5 cannot be read.*layer1"), open_hdf5(tmp_path / "a.h5") as file:
        file["layer1"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0, "origin": {}}', "\x00"])
def test_damaged_json_is_named(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(FeaturePathsError, match=r"a\.json"):
        read_json(path)


def test_nan_is_not_written_as_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")}, ORIGIN)
    assert list(tmp_path.iterdir()) == []


def test_inputs_of_different_ancestors_are_refused(tmp_path):
    write_json(tmp_path / "a.json", {}, Origin("centroids/mean", "c1", {"checkpoint": "k1", "data": "d"}))
    write_json(tmp_path / "b.json", {}, Origin("features/mean/test", "f1", {"checkpoint": "k2", "data": "d"}))
    with pytest.raises(FeaturePathsError, match=r"a\.json and .*b\.json do not belong together.*'checkpoint'"):
        descend("paths/mean/test", "p", [tmp_path / "a.json", tmp_path / "b.json"])


def test_ancestors_add_up(tmp_path):
    write_json(tmp_path / "a.json", {}, Origin("centroids/mean", "c1", {"checkpoint": "k"}))
    write_json(tmp_path / "b.json", {}, Origin("features/mean/test", "f1", {"checkpoint": "k", "data": "d"}))
    origin = descend("paths/mean/test", "p", [tmp_path / "a.json", tmp_path / "b.json"])
    a, b = (json.loads((tmp_path / name).read_text())["checksum"] for name in ("a.json", "b.json"))
    ancestors = {"checkpoint": "k", "data": "d", "centroids/mean.json": f"c1.{a}", "features/mean/test.json": f"f1.{b}"}
    assert origin == Origin("paths/mean/test", "p", ancestors, (a, b))


def test_equal_recipes_with_other_contents_do_not_belong_together(tmp_path):
    """As of a checkpoint that was trained again on another processor."""
    checkpoint = Origin("checkpoint", "k")
    paths = []
    for number in (1, 2):
        with create_hdf5(tmp_path / f"checkpoint{number}.h5", checkpoint) as file:
            file["weights"] = number
        paths.append(tmp_path / f"features{number}.json")
        write_json(paths[-1], {}, descend(f"features/mean/{number}", "f", [tmp_path / f"checkpoint{number}.h5"]))
    with pytest.raises(FeaturePathsError, match=r"features1\.json and .*features2\.json.*'checkpoint\.h5'"):
        descend("paths/mean/test", "p", paths)
    descend("paths/mean/test", "p", [paths[0], tmp_path / "checkpoint1.h5"])


def test_the_same_contents_are_the_same_version(tmp_path):
    for name in ("a", "b"):
        with create_hdf5(tmp_path / f"{name}.h5", ORIGIN) as file:
            file["weights"] = 1
    assert read_version(tmp_path / "a.h5") == read_version(tmp_path / "b.h5")


def test_layers_are_in_the_networks_order(tmp_path):
    with create_hdf5(tmp_path / "a.h5", ORIGIN) as file:
        for number in (10, 2, 1):
            file[f"layer{number}"] = 0
        file["labels"] = 0
        assert layers_in(file) == ["layer1", "layer2", "layer10"]


def test_json_holds_what_was_written(tmp_path):
    write_json(tmp_path / "a.json", {"threshold": 0.1 + 0.2}, ORIGIN)
    assert read_json(tmp_path / "a.json")["threshold"] == 0.1 + 0.2
    assert json.loads((tmp_path / "a.json").read_text())["format"] == 3
