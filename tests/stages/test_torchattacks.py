"""The attack stage with an attack of torchattacks, and with images that were made elsewhere, by hand."""

import json

import h5py
import numpy as np
import pytest

from featurepaths.data.splits import open_split
from featurepaths.experiment.config.settings import Attack
from featurepaths.store.code_digest import digest_of
from featurepaths.store.fingerprints import digest_of_file
from featurepaths.store.provenance import read_origin
from tests.processes import refused, stage

TRAINING = {"epochs": 1, "batch_size": 64, "learning_rate": "1/20", "schedule": "constant"}
PGD = {"method": "pgd", "norm": "l2", "eps": "3/2", "max_images": 70, "parameters": {"steps": 3, "alpha": "1/2"}}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data, checkpoint = folder / "data.h5", folder / "checkpoint.safetensors"
    settings = {"data": {"source": "digits", "test": "1/10"}}
    done = stage("data", "--settings", json.dumps(settings), "--data", data)
    assert done.returncode == 0, done.stderr
    settings = {"model": {"architecture": "resnet18", "width": 4}, "training": TRAINING, "seed": 0}
    arguments = ["--settings", json.dumps(settings), "--data", data, "--checkpoint", checkpoint]
    done = stage("train", *arguments, "--training", folder / "training.csv")
    assert done.returncode == 0, done.stderr
    return ["--data", data, "--checkpoint", checkpoint]


def made_in_shards(inputs, folder, settings):
    """Return an attack's artefact that was gathered from two shards, and is the same file as one job makes."""

    def run(path, *options):
        done = stage("attack", *inputs, "--settings", json.dumps(settings), "--adversarial", path, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    output = run(folder / "whole/test.x.h5")
    assert "under attack" in output
    assert "vanished" not in output, "nobody knows"
    shards = [folder / f"parts/test.x/{number}-of-2.h5" for number in (1, 2)]
    for shard in shards:
        run(shard, "--shard", shard.stem)
    gathered = folder / "parts/test.x.h5"
    sources = [read_origin(path).digest for path in (inputs[3], inputs[1])]
    done = stage("gather", "--shards", *shards, "--artefacts", gathered, "--digest",
                 digest_of("attack", Attack(**settings).recipe(), sources))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert gathered.read_bytes() == (folder / "whole/test.x.h5").read_bytes()
    return gathered


def test_shards_gathered_are_the_same_file_as_one_job_makes(inputs, tmp_path):
    with h5py.File(made_in_shards(inputs, tmp_path, {"attack": PGD, "seed": 0})) as file:
        assert file.attrs["precision"] == "float32"
        assert file["returned/adversarial"].shape == (70, 3, 32, 32)
        assert file["returned/norm"][:].max() <= 1.5 * 1.0001 + 1e-6
        assert file["success"][:].any()


def test_what_the_library_cannot_do_is_refused_in_one_line(inputs, tmp_path):
    settings = json.dumps({"attack": {**PGD, "parameters": {"stpes": 1}}, "seed": 0})
    done = stage("attack", *inputs, "--settings", settings, "--adversarial", tmp_path / "test.x.h5")
    assert done.returncode == 2
    assert "'stpes' is no parameter of method pgd" in done.stderr
    assert not (tmp_path / "test.x.h5").exists()


@pytest.fixture(scope="module")
def theirs(inputs, tmp_path_factory):
    """A file with noisy versions of the first 70 test images, in reverse order, and the settings that ask for it."""
    with open_split(inputs[1], "test") as data:
        images = data[:70] / 255
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, images.shape)
    path = tmp_path_factory.mktemp("theirs") / "theirs.npz"
    np.savez(path, adversarial=(images + noise).clip(0, 1)[::-1], index=np.arange(70)[::-1])
    return path, {"method": "precomputed", "test": str(path), "eps": "1/5"}


def test_images_made_elsewhere_in_shards(inputs, theirs, tmp_path):
    path, images = theirs
    settings = {"attack": images, "seed": 0, "contents": digest_of_file(path)}
    with h5py.File(made_in_shards(inputs, tmp_path, settings)) as file, np.load(path) as arrays:
        expected = arrays["adversarial"][::-1].transpose(0, 3, 1, 2).astype(np.float32)
        np.testing.assert_allclose(file["returned/adversarial"][:], expected, atol=1e-6)
        with open_split(inputs[1], "test") as data:
            assert (file["index"][:] == data.indices[:70]).all()
            assert (file["labels"][:] == data.labels[:70]).all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"contents": "of before"}, "theirs.npz changed meanwhile"),
        (
            {"attack": {"eps": "1/10"}},
            "perturbation of 70 images (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...) is greater than eps",
        ),
    ],
)
def test_images_made_elsewhere_that_are_not_those_asked_for(inputs, theirs, tmp_path, changes, expected):
    path, images = theirs
    settings = {"contents": digest_of_file(path), "seed": 0, **changes, "attack": images | changes.get("attack", {})}
    refused(
        stage("attack", *inputs, "--settings", json.dumps(settings), "--adversarial", tmp_path / "test.x.h5"), expected
    )
    assert list(tmp_path.iterdir()) == []


def test_images_made_elsewhere_have_to_be_named(inputs, theirs, tmp_path):
    settings = json.dumps({"attack": theirs[1], "seed": 0, "contents": "of before"})
    done = stage("attack", *inputs, "--settings", settings, "--adversarial", tmp_path / "calibration.x.h5")
    refused(done, "names no file for the calibration split")
