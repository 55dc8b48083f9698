"""Hostile files and names: nothing in them is run, and they take no memory."""

import copy
import os
import pickle
import resource
import shlex
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from featurepaths.data.array_formats import array_in, open_arrays
from featurepaths.data.folder import load_folder
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.networks.external.files import read_weights
from featurepaths.store import resume
from featurepaths.training.state import TrainingState
from tests.experiments import TINY
from tests.processes import Workflow


class Harm:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {shlex.quote(str(self.path))}",)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_with_command_not_run(tmp_path, protocol, faults):
    harm, mark = Harm(tmp_path / "harmed"), tmp_path / "harmed"
    pickles = ("a.pt", "b.pth", "c.pth")
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "extra": harm}, tmp_path / "a.pt", pickle_protocol=protocol)
    (tmp_path / "b.pth").write_bytes(pickle.dumps(harm, protocol))
    torch.save(harm, tmp_path / "c.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    for name in pickles:
        with pytest.raises(FeaturePathsError, match=name):
            read_weights(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file, file.open("images.npy", "w") as member:
        np.lib.format.write_array(member, np.array([harm], dtype=object), allow_pickle=True)
    with (
        open_arrays(tmp_path / "d.npz") as opened,
        pytest.raises(FeaturePathsError, match=r"(?=.*d\.npz)(?=.*images)"),
    ):
        array_in(opened, ("images",))
    # what is saved of a training or an attack that was stopped
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    state = TrainingState(network, optimizer, None, torch.Generator(), "float32")
    training = resume.ResumeFiles(tmp_path / "checkpoint", "key")
    for name in pickles:
        training.path.write_bytes((tmp_path / name).read_bytes())
        assert state.load(training) is False
    attack = resume.ResumeFiles(tmp_path / "attack", "key")
    attack.path.mkdir()
    np.savez(attack.path / "0.npz", **{"0/success": np.array([harm], dtype=object)})
    blocks = list(resume.resuming(lambda rows: iter([(rows[0], {"row": np.zeros(1)})]), [slice(0, 1)], attack))
    assert [records.keys() for _, records in blocks] == [{"row"}], "attacked, and not resumed"
    assert not mark.exists()
    pickle.loads((tmp_path / "b.pth").read_bytes())
    assert mark.exists(), "the pickles do harm where they are loaded"
    faults(
        "pickle that would run a command (checkpoint, npz, saved state)",
        len(pickles) + 1 + len(pickles) + 1,
        "refused or passed over; not run",
    )


def test_hdf5_unpacking_to_gigabytes_refused_unread(tmp_path, faults):
    zeros = zlib.compress(zlib.compress(bytes(2**26), 9), 9)
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        dataset = file.create_dataset("images", (2**20, 8, 8, 1), np.uint8, chunks=(2**20, 8, 8, 1), compression="gzip")
        dataset.id.write_direct_chunk((0, 0, 0, 0), zeros)
        dataset = file.create_dataset(
            "chunk", (2**21, 32, 32, 1), np.uint8, chunks=(2**21, 32, 32, 1), compression="gzip"
        )
        dataset.id.write_direct_chunk((0, 0, 0, 0), bytes(2**21))
        dataset = file.create_dataset("image", (1, 2**16, 2**15, 1), np.uint8, chunks=(1, 2**12, 2**12, 1))
        for row in range(0, 2**16, 2**12):
            for column in range(0, 2**15, 2**12):
                dataset.id.write_direct_chunk((0, row, column, 0), bytes(2**21))
    with open_arrays(tmp_path / "twice.h5") as opened:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in opened.names:
            with pytest.raises(FeaturePathsError, match=rf"(?=.*twice\.h5)(?=.*\b{name}\b)"):
                array_in(opened, (name,))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB: each holds gigabytes"
        count = len(opened.names)
    faults(
        "HDF5 file that unpacks to gigabytes (twice packed, one chunk, one image)", count, "refused before it is read"
    )


def png(width, height):
    """A picture of zeros, small in the file."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width // 8 + 1)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_pictures_bombs_or_broken_refused_with_names(tmp_path, faults):
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "data" / part / label).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(tmp_path / "data" / part / label / "good.png")
    whole = (tmp_path / "data/train/a/good.png").read_bytes()
    hostile = {
        "bomb.png": png(80_000, 80_000),
        "cut.png": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "text.jpg": b"#!/bin/sh\ntouch harmed\n",
        "header.png": whole[:20],
        "flipped.png": whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
    }
    for name, content in hostile.items():
        (tmp_path / "data/train/b" / name).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadPoolExecutor(1) as pool:
        parts, _ = load_folder(tmp_path / "data", 32, pool)
        images, labels = parts["train"]
        with pytest.raises(FeaturePathsError) as refusal:
            images[np.arange(len(labels))]
    for name in hostile:
        assert name in str(refusal.value)
    assert "good.png" not in str(refusal.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB: the bomb holds gigabytes"
    faults("picture that is a bomb, cut short, empty or no picture", len(hostile), "named; nothing is made")


NAMES = ["a b", "a'b", 'a"b', "$(touch harmed)", "`touch harmed`", "..", "../a", "/a", "-a", "--help", "\u00e4", "a\nb",
         "a\n", "a;b", "a|b", "{a}", "a*", "~", "", "a\0b", "a/b", ".a", "a.b", "a-b", "a" * 61]  # fmt: skip


def test_names_leaving_results_or_reaching_shell_refused(faults):
    """Names of the experiment, of models, trainings and attacks become parts of paths and of commands."""
    count = 0
    for name in NAMES:
        for section in ("name", "models", "training", "attacks"):
            config = copy.deepcopy(TINY)
            if section == "name" and name == "a-b":
                continue  # the experiment's name is a separate folder
            if section == "name":
                config["name"] = name
            else:
                config[section] = {name: next(iter(config[section].values()))}
            with pytest.raises(FeaturePathsError):
                read_experiment(config)
            count += 1
    faults("name in the configuration with blanks, quotes, `$()`, `..`, leading dashes, ...", count, "refused")


PLACES = ["a 'b' \"c\" $(touch harmed) `touch harmed` {a} {{b; touch harmed", "--digest", "\u00e4*~%20\\"]  # fmt: skip


def test_data_paths_with_shell_characters_read_without_shell(tmp_path, faults):
    """Names of the user's outside of the results reach the stage quoted, through Snakemake and the shell."""
    generator = np.random.default_rng(0)
    config = copy.deepcopy(TINY)
    for number, place in enumerate(PLACES):
        folder = tmp_path / str(number)
        workflow = Workflow(folder, config)
        images, labels = generator.integers(0, 256, (40, 32, 32, 3), np.uint8), np.arange(40) % 4
        file = folder / f"{place}.npz"
        np.savez(file, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
        relative = f"{place}.npz"
        config["data"] = {"source": "arrays", "train": relative, "test": relative, "title": place, "calibration": 0.5}
        workflow = Workflow(folder, config)
        workflow("--until", "data", cores=1)
        with h5py.File(workflow.results / "data.h5") as data:
            assert len(data["images"]) == 80
            assert data.attrs["provenance"] == place
        assert not list(tmp_path.rglob("harmed"))
    faults("place of data with blanks, quotes, `$()`, braces, leading dashes, ...", len(PLACES), "read as it is called")
