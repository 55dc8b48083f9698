"""Attacks and extractions that are split over several jobs."""

import shutil
import subprocess
import sys

import pytest

from tests.experiments import TINY
from tests.processes import Workflow, edit_hdf5, jobs

RUN = "small-standard-s0"


@pytest.mark.parametrize("shards", [2, 5])
def test_gathered_artefacts_are_those_of_one_job_to_the_byte(tiny, tmp_path, shards):
    workflow = Workflow(tmp_path, TINY | {"shards": {"attacks": shards, "features": shards}})
    (workflow.results / RUN).mkdir(parents=True)
    for name in ("data.h5", f"{RUN}/checkpoint.safetensors"):
        shutil.copy(tiny.results / name, workflow.results / name)
    patterns = ["attacks/test.apgd.h5", "features/*/t*t.h5", "features/*/train.h5", "features/*/test.apgd.max-loss.h5"]
    paths = [path for pattern in patterns for path in sorted((tiny.results / RUN).glob(pattern))]
    assert len(paths) == 1 + 3 * 2
    targets = [str(path.relative_to(tiny.folder)) for path in paths]
    text = workflow(*targets)
    assert text.count(f"1-of-{shards}.h5")
    for path, target in zip(paths, targets, strict=True):
        assert (tmp_path / target).read_bytes() == path.read_bytes(), target
    assert not list(workflow.results.rglob("*-of-*.h5")), "shards are temporary"


def test_adaptive_attacks_in_shards_are_those_of_one_job(tiny, tmp_path):
    shutil.copytree(tiny.folder / "results", tmp_path / "results")
    workflow = Workflow(tmp_path, TINY | {"shards": {"attacks": 2}})
    target = f"results/tiny/{RUN}/adaptive/flatten.h5"
    whole = (tmp_path / target).read_bytes()
    (tmp_path / target).unlink()
    assert jobs(workflow("--dry-run", target)) == {"adaptive": 2, "gather_adaptive": 1}
    workflow(target)
    assert (tmp_path / target).read_bytes() == whole


def test_the_number_of_shards_starts_nothing(tiny, tmp_path):
    workflow = Workflow(tmp_path, TINY | {"shards": {"attacks": 8, "features": 3}})
    (tmp_path / "results").symlink_to(tiny.folder / "results")
    assert jobs(workflow("--dry-run")) == {"configuration": 1}


def test_shards_that_are_left_over_start_nothing_and_are_removed(tiny, tmp_path):
    shutil.copytree(tiny.folder / "results", tmp_path / "results")
    workflow = Workflow(tmp_path, TINY | {"shards": {"attacks": 4, "features": 2}})
    run = workflow.results / RUN
    for folder, item in (
        ("attacks/test.apgd", "1-of-4"),
        ("features/mean/test", "2-of-2"),
        ("attacks/test.apgd", "1-of-3"),
    ):
        (run / folder).mkdir(exist_ok=True)
        (run / folder / f"{item}.h5").write_bytes(b"half")
    assert jobs(workflow("--dry-run")) == {"configuration": 1}
    (run / "attacks/test.apgd.h5").unlink()
    target = f"results/tiny/{RUN}/attacks/test.apgd.h5"
    assert jobs(workflow("--dry-run", target)) == {"attack": 4, "gather_attack": 1}
    workflow(target)
    assert (tmp_path / target).read_bytes() == (tiny.folder / target).read_bytes()
    assert not (run / "attacks/test.apgd").exists()


def gather(digest, shards, artefact):
    command = [sys.executable, "-m", "featurepaths.stages.gather", "--digest", digest, "--shards", *map(str, shards)]
    return subprocess.run([*command, "--artefacts", str(artefact)], capture_output=True, text=True, check=False)


def test_shards_that_are_not_all_there_or_of_something_else_are_refused(tiny, tmp_path):
    run = tiny.results / RUN
    from featurepaths.experiment.config.messages import read_experiment
    from featurepaths.experiment.plan import Plan

    artefact = Plan(read_experiment(TINY)).attack(RUN, "test", "apgd")
    shards = [tmp_path / f"test.apgd/{number}-of-2.h5" for number in (1, 2)]
    for path in shards:
        command = [sys.executable, "-m", "featurepaths.stages.attack", "--settings", artefact.params["settings"]]
        command += ["--data", tiny.results / "data.h5", "--checkpoint", run / "checkpoint.safetensors"]
        command += ["--device", "cpu", "--shard", path.stem, "--adversarial", path]
        subprocess.run(list(map(str, command)), check=True)
    whole = tmp_path / "test.apgd.h5"
    done = gather(artefact.job_digest, shards[:1], whole)
    assert done.returncode == 1
    assert "These are not all shards" in done.stderr
    done = gather("0" * 20, shards, whole)
    assert "is not the shard that this run of the workflow expects" in done.stderr
    done = gather(artefact.job_digest, shards, tmp_path / "other.h5")
    assert "These are not all shards" in done.stderr
    other = shards[0].with_name("3-of-2.h5")
    shutil.copy(run / "attacks/test.apgd.h5", other)  # the whole is no shard
    done = gather(artefact.job_digest, [*shards, other], whole)
    assert "These are not all shards" in done.stderr
    shutil.copy(tiny.results / "small-adversarial-s0/attacks/test.apgd.h5", other)
    done = gather(artefact.job_digest, [*shards, other], whole)
    assert "is not the shard that this run of the workflow expects" in done.stderr
    other.unlink()
    with edit_hdf5(shards[1]) as file:
        file.attrs["precision"] = "bfloat16"
    done = gather(artefact.job_digest, shards, whole)
    assert "computed with different precision (bfloat16, float32)" in done.stderr
    with edit_hdf5(shards[1]) as file:
        file.attrs["precision"] = "float32"
    assert "Traceback" not in done.stderr
    assert not whole.exists()
    assert gather(artefact.job_digest, shards[::-1], whole).returncode == 0
    assert whole.read_bytes() == (run / "attacks/test.apgd.h5").read_bytes()


def test_a_number_that_is_no_shard_is_refused(tmp_path):
    command = [
        sys.executable,
        "-m",
        "featurepaths.stages.attack",
        "--data",
        "d",
        "--checkpoint",
        "c",
    ]
    for shard in ("0-of-2", "3-of-2", "1", "a-of-b"):
        done = subprocess.run(
            [*command, "--adversarial", "x", "--shard", shard], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "not a number of a shard such as 2-of-4" in done.stderr
