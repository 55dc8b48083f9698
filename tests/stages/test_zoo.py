"""The attack stage with an attack of torchattacks, by hand."""

import json

import h5py
import pytest

from featurepaths.digests import digest_of
from featurepaths.storage import read_origin
from tests.stages.test_stages import refused, stage

TRAINING = {
    "epochs": 1, "batch_size": 64, "learning_rate": "1/20", "momentum": "9/10", "weight_decay": "1/2000",
    "schedule": "constant", "milestones": [], "augment": "none", "adversary": None, "precision": "float32",
    "compile": False,
}  # fmt: skip
SETTINGS = {
    "method": "pgd", "norm": "l2", "eps": "3/2", "images": 70, "keep": ["returned"], "seed": 0, "torch_threads": 1,
    "parameters": {"steps": 3, "alpha": "1/2", "random_start": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    data, checkpoint = folder / "data.h5", folder / "checkpoint.safetensors"
    settings = {"source": "digits", "size": 32, "test": "1/10", "calibration": "1/10", "seed": 0}
    done = stage("data", "--settings", json.dumps(settings), "--data", data)
    assert done.returncode == 0, done.stderr
    settings = {"model": {"architecture": "resnet18", "width": 4, "stem": "conv"}, "training": TRAINING, "seed": 0}
    arguments = ["--settings", json.dumps(settings | {"torch_threads": 1}), "--data", data, "--checkpoint", checkpoint]
    done = stage("train", *arguments, "--training", folder / "training.csv")
    assert done.returncode == 0, done.stderr
    return ["--data", data, "--checkpoint", checkpoint, "--split", "test"]


def attack(inputs, path, *more, **changes):
    return stage("attack", *inputs, "--settings", json.dumps(SETTINGS | changes), "--adversarial", path, *more)


def test_shards_gathered_are_the_same_file_as_one_job_makes(inputs, tmp_path):
    done = attack(inputs, tmp_path / "whole/test.x.h5")
    assert done.returncode == 0, done.stderr
    assert "under attack" in done.stdout
    assert "vanished" not in done.stdout, "nobody knows"
    shards = [tmp_path / f"parts/test.x/{number}-of-2.h5" for number in (1, 2)]
    for shard in shards:
        done = attack(inputs, shard, "--shard", shard.stem)
        assert done.returncode == 0, done.stderr
    gathered = tmp_path / "parts/test.x.h5"
    sources = [read_origin(path).digest for path in (inputs[3], inputs[1])]
    done = stage("gather", "--shards", *shards, "--artefacts", gathered, "--digest",
                 digest_of("attack", SETTINGS, sources))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert gathered.read_bytes() == (tmp_path / "whole/test.x.h5").read_bytes()
    with h5py.File(gathered) as file:
        assert file.attrs["precision"] == "float32"
        assert file["returned/adversarial"].shape == (70, 3, 32, 32)
        assert file["returned/norm"][:].max() <= 1.5 * 1.0001 + 1e-6
        assert file["success"][:].any()


def test_what_the_library_cannot_do_is_refused_in_one_line(inputs, tmp_path):
    done = attack(inputs, tmp_path / "test.x.h5", parameters={"stpes": 1})
    done.stderr = done.stderr[done.stderr.index("Error: ") :]  # after the progress bar
    refused(done, "Attack method pgd has no parameter stpes")
    assert not (tmp_path / "test.x.h5").exists()
