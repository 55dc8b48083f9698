import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from featurepaths.errors import FeaturePathsError
from featurepaths.store.atomic import atomic
from featurepaths.store.hdf5 import create_hdf5, layers_in, open_hdf5
from featurepaths.store.jsonfile import read_description, read_json, write_json
from featurepaths.store.origin import Origin
from featurepaths.store.provenance import check_files, descend, read_origin, read_version
from featurepaths.store.seal import FORMAT
from featurepaths.store.tensors import read_tensors, write_tensors

ORIGIN = Origin("paths/mean/test", "abc", {"data": "123"})


def test_origin_read_from_hdf5_and_json_is_equal(tmp_path):
    with create_hdf5(tmp_path / "a.h5", ORIGIN) as file:
        file["x"] = np.arange(3)
    write_json(tmp_path / "a.json", {"x": 1}, ORIGIN)
    assert read_origin(tmp_path / "a.h5") == ORIGIN
    assert read_origin(tmp_path / "a.json") == ORIGIN


def test_artefact_after_failed_write_is_unchanged(tmp_path):
    path = tmp_path / "a.h5"
    with create_hdf5(path, ORIGIN) as file:
        file["x"] = 1
    with pytest.raises(ZeroDivisionError), create_hdf5(path, ORIGIN) as file:
        file["x"] = 1 / 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]
    with open_hdf5(path) as file:
        assert file["x"][()] == 1


def test_atomic_new_folder_is_created_and_suffix_kept(tmp_path):
    with atomic(tmp_path / "new/figure.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_text("x")
    assert (tmp_path / "new/figure.png").read_text() == "x"


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.9])
def test_hdf5_truncated_error_names_file(tmp_path, kept):
    path = tmp_path / "a.h5"
    with create_hdf5(path, ORIGIN) as file:
        file["x"] = np.random.default_rng(0).normal(size=10_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(FeaturePathsError, match=r"a\.h5 cannot be read.*run snakemake again"), open_hdf5(path) as file:
        file["x"][:]


def test_hdf5_opened_peak_memory_same_for_larger_file(tmp_path):
    peaks = []
    for size in (2**22, 2**25):
        with create_hdf5(tmp_path / "a.h5", Origin("a", "x")) as file:
            file["values"] = np.zeros(size, np.uint8)
        tracemalloc.start()
        with open_hdf5(tmp_path / "a.h5"):
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**17, "28 MiB more; averaged features of 2,000 images are 8 MB"


def test_disk_full_error_names_output(tmp_path):
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
def test_folder_removed_during_write_error_names_output(tmp_path, error):
    path = tmp_path / "out/a.h5"

    def write():
        with atomic(path):
            path.parent.rmdir()
            raise error

    with pytest.raises(FeaturePathsError, match=r"out/a\.h5 cannot be written \(No such file or directory\)"):
        write()
    with pytest.raises(OSError, match=r"No such file|stat info"), atomic(path):  # the folder is there: it is another's
        raise error


def test_folder_not_creatable_error_names_output(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FeaturePathsError, match=r"file/a\.json cannot be written"):
        write_json(tmp_path / "file/a.json", {}, ORIGIN)


def test_inputs_of_two_poolings_are_rejected(tmp_path):
    for pooling in ("mean", "flatten"):
        ancestors = {f"centroids/{pooling}": "c", "checkpoint": "k"}
        write_json(tmp_path / f"{pooling}.json", {}, Origin(f"paths/{pooling}/test", "p", ancestors))
    with pytest.raises(FeaturePathsError, match="different poolings"):
        descend("thresholds/mean/x", "t", [tmp_path / "mean.json", tmp_path / "flatten.json"])


def test_hdf5_missing_file_or_data_set_is_named(tmp_path):
    with pytest.raises(FeaturePathsError, match=r"none\.h5 does not exist"), open_hdf5(tmp_path / "none.h5"):
        pass
    with create_hdf5(tmp_path / "a.h5", ORIGIN):
        pass
    with pytest.raises(FeaturePathsError, match=r"a\.h5 cannot be read.*layer1"), open_hdf5(tmp_path / "a.h5") as file:
        file["layer1"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0, "origin": {}}', "\x00"])
def test_json_damaged_error_names_file(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(FeaturePathsError, match=r"a\.json"):
        read_json(path)


def test_json_with_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")}, ORIGIN)
    assert list(tmp_path.iterdir()) == []


def test_inputs_of_different_ancestors_are_rejected(tmp_path):
    write_json(tmp_path / "a.json", {}, Origin("centroids/mean", "c1", {"checkpoint": "k1", "data": "d"}))
    write_json(tmp_path / "b.json", {}, Origin("features/mean/test", "f1", {"checkpoint": "k2", "data": "d"}))
    with pytest.raises(FeaturePathsError, match=r"a\.json and .*b\.json do not belong together.*'checkpoint'"):
        descend("paths/mean/test", "p", [tmp_path / "a.json", tmp_path / "b.json"])


def test_ancestors_of_two_inputs_are_merged(tmp_path):
    write_json(tmp_path / "a.json", {}, Origin("centroids/mean", "c1", {"checkpoint": "k"}))
    write_json(tmp_path / "b.json", {}, Origin("features/mean/test", "f1", {"checkpoint": "k", "data": "d"}))
    origin = descend("paths/mean/test", "p", [tmp_path / "a.json", tmp_path / "b.json"])
    a, b = (json.loads((tmp_path / name).read_text())["checksum"] for name in ("a.json", "b.json"))
    ancestors = {"checkpoint": "k", "data": "d", "centroids/mean.json": f"c1.{a}", "features/mean/test.json": f"f1.{b}"}
    assert origin == Origin("paths/mean/test", "p", ancestors, (a, b))


def test_inputs_with_equal_recipes_and_other_contents_are_rejected(tmp_path):
    """For example a checkpoint that was trained again on another processor."""
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


def test_origin_of_repeated_input_lists_it_twice(tmp_path):
    """Streamed features use one file of images for training and calibration."""
    write_json(tmp_path / "data.json", {}, Origin("data", "d"))
    origin = descend("detectors/mean", "r", [tmp_path / "data.json"] * 2)
    assert origin.inputs == (read_version(tmp_path / "data.json").contents,) * 2


def test_version_of_equal_contents_is_equal(tmp_path):
    for name in ("a", "b"):
        with create_hdf5(tmp_path / f"{name}.h5", ORIGIN) as file:
            file["weights"] = 1
    assert read_version(tmp_path / "a.h5") == read_version(tmp_path / "b.h5")


def test_layers_beyond_nine_are_in_numeric_order(tmp_path):
    with create_hdf5(tmp_path / "a.h5", ORIGIN) as file:
        for number in (10, 2, 1):
            file[f"layer{number}"] = 0
        file["labels"] = 0
        assert layers_in(file) == ["layer1", "layer2", "layer10"]


def test_json_written_values_are_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"threshold": 0.1 + 0.2}, ORIGIN)
    assert read_json(tmp_path / "a.json")["threshold"] == 0.1 + 0.2
    assert json.loads((tmp_path / "a.json").read_text())["format"] == FORMAT


@pytest.fixture(params=["ENOLCK", "ENOTSUP", "EAGAIN"])
def no_locks(request, tmp_path):
    """The environment of a process in which `flock` fails as on a file system without locks."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("needs a C compiler")
    (tmp_path / "shim.c").write_text(
        f"#include <errno.h>\nint flock(int fd, int operation) {{ errno = {request.param}; return -1; }}\n"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    return environment | {"LD_PRELOAD": str(tmp_path / "shim.so")}


def ran(code, *words, env):
    """Run Python code in a separate process and return its output."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WRITE = """
import sys, numpy as np
from featurepaths.store.origin import Origin
from featurepaths.store.hdf5 import create_hdf5
with create_hdf5(sys.argv[1], Origin("paths/mean/test", "abc", {"data": "123"})) as file:
    file["x"] = np.arange(3)
"""
READ = """
import sys
from featurepaths.store.hdf5 import open_hdf5
with open_hdf5(sys.argv[1]) as file:
    print(file["x"][:].tolist())
"""


def test_artefacts_without_file_locks_are_written_and_read(tmp_path, no_locks):
    with create_hdf5(tmp_path / "good.h5", ORIGIN) as file:
        file["x"] = np.arange(3)
    assert ran(READ, tmp_path / "good.h5", env=no_locks) == "[0, 1, 2]"
    ran(WRITE, tmp_path / "made.h5", env=no_locks)
    assert (tmp_path / "made.h5").read_bytes() == (tmp_path / "good.h5").read_bytes()


def test_user_hdf5_file_without_file_locks_is_read(tmp_path, no_locks):
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["images"] = np.arange(3)
    code = """
import sys
import numpy as np
from featurepaths.data.array_formats import array_in, open_arrays
from featurepaths.errors import FeaturePathsError
try:
    with open_arrays(sys.argv[1]) as file:
        print(array_in(file, ("images",))[np.arange(3)].tolist())
except FeaturePathsError as error:
    print(error.__cause__.errno)
"""
    held = "errno = EAGAIN" in (tmp_path / "shim.c").read_text()  # somebody may be writing to it
    assert ran(code, tmp_path / "theirs.h5", env=no_locks) == (str(errno.EAGAIN) if held else "[0, 1, 2]")


@pytest.mark.parametrize("wanted", ["TRUE", "FALSE", "BEST_EFFORT"])
def test_hdf5_locking_setting_of_user_is_respected(tmp_path, wanted):
    env = os.environ | {"HDF5_USE_FILE_LOCKING": wanted}
    ran(WRITE, tmp_path / "made.h5", env=env)
    assert ran(READ, tmp_path / "made.h5", env=env) == "[0, 1, 2]"


def test_hdf5_locking_required_but_unsupported_is_reported(tmp_path, no_locks):
    with create_hdf5(tmp_path / "good.h5", ORIGIN) as file:
        file["x"] = np.arange(3)
    env = no_locks | {"HDF5_USE_FILE_LOCKING": "TRUE"}
    for code, name in ((READ, "good.h5"), (WRITE, "made.h5")):
        done = subprocess.run([sys.executable, "-c", code, tmp_path / name], env=env, capture_output=True, text=True)
        last = done.stderr.splitlines()[-1]
        assert "FeaturePathsError" in last
        assert name in last
        assert "unset HDF5_USE_FILE_LOCKING" in last
        assert "elete" not in last
    assert not (tmp_path / "made.h5").exists()


READERS = {
    "a.h5": [lambda path: open_hdf5(path).__enter__(), read_origin, check_files],
    "a.json": [read_json, read_origin, check_files],
    "a.safetensors": [read_tensors, read_description, read_origin],
}
NUMBERS = ("EMFILE", "ENFILE", "EACCES", "EPERM", "ESTALE", "EIO", "ENOMEM", "ENOLCK", "ENOTSUP", "ETIMEDOUT", "EISDIR")


def write_each(folder):
    with create_hdf5(folder / "a.h5", ORIGIN) as file:
        file["x"] = 1
    write_json(folder / "a.json", {"files": {}}, ORIGIN)
    write_tensors(folder / "a.safetensors", {"x": torch.ones(1)}, {"origin": asdict(ORIGIN)})


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", READERS)
def test_artefact_with_system_error_is_not_to_be_deleted(tmp_path, monkeypatch, name, number):
    write_each(tmp_path)
    number = getattr(errno, number)

    def fail(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", fail)
    for read in READERS[name]:
        with pytest.raises(FeaturePathsError, match=re.escape(os.strerror(number))) as raised:
            read(tmp_path / name)
        assert name in str(raised.value)
        assert "elete" not in str(raised.value)


@pytest.mark.parametrize("name", READERS)
def test_artefact_with_too_many_open_files_is_not_reported_missing(tmp_path, name):
    """Under a real limit of the system; safetensors reports such a file as missing."""
    write_each(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    warm = [read(tmp_path / name) for read in READERS[name]]  # what they import
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        messages = []
        for read in READERS[name]:
            try:
                read(tmp_path / name)
            except FeaturePathsError as error:
                messages.append(str(error))
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(messages) == len(warm)
    assert all("Too many open files" in text and "elete" not in text for text in messages)


def test_hdf5_read_error_of_disk_does_not_advise_deletion(tmp_path):
    with create_hdf5(tmp_path / "a.h5", ORIGIN) as file:
        file["x"] = 1
    words = "Can't synchronously read data (file read failed: errno = 5, error message = 'Input/output error')"
    with h5py.File(tmp_path / "a.h5") as file, pytest.raises(OSError, match="intent") as raised:  # by h5py
        file.attrs["x"] = 1
    raised.value.args = (words,)
    with pytest.raises(FeaturePathsError, match=r"a\.h5 cannot be read") as refusal, open_hdf5(tmp_path / "a.h5"):
        raise raised.value
    assert "elete" not in str(refusal.value)


@pytest.mark.parametrize("number", ["EIO", "ESTALE", "EMFILE", "ENOMEM", "ENOLCK"])
def test_output_with_system_error_is_named(tmp_path, number):
    number = getattr(errno, number)
    with pytest.raises(FeaturePathsError, match=r"a\.h5 cannot be written"), atomic(tmp_path / "a.h5") as temporary:
        raise OSError(number, os.strerror(number), str(temporary))
    with pytest.raises(OSError, match="other"), atomic(tmp_path / "a.h5"):
        raise OSError(number, os.strerror(number), "other")


def test_artefact_damaged_or_foreign_advises_deletion(tmp_path):
    write_each(tmp_path)
    for name, readers in READERS.items():
        path = tmp_path / name
        content = path.read_bytes()
        for damaged in (b"", b"foreign", content[: len(content) // 2]):
            path.write_bytes(damaged)
            for read in readers:
                with pytest.raises(FeaturePathsError, match="Delete it"):
                    read(path)
        path.unlink()
        for read in readers:
            with pytest.raises(FeaturePathsError, match="does not exist") as raised:
                read(path)
            assert "elete" not in str(raised.value)
