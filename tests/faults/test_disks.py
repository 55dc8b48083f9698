"""Disks that are full, read-only or gone: one clear message, nothing half-written, and a rerun resumes."""

import os
import re
import resource
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from tests.experiments import TINY
from tests.processes import Workflow, command, finish, refused, wait_for

RUN = "small-standard-s0"


def stages(tiny, folder):
    """A stage of every kind of file: its command line, and what it makes."""
    plan, there = Plan(read_experiment(TINY)), tiny.results / RUN
    network = {"device": "cpu", "checkpoint": there / "checkpoint.safetensors", "images": tiny.results / "data.h5"}
    trained = {"device": "cpu", "data": tiny.results / "data.h5", "checkpoint": folder / "checkpoint.safetensors"}
    collapse = {"features": there / "features/mean/train.h5", "collapse": folder / "mean.json"}
    summary = {
        "checkpoints": [tiny.results / run / "checkpoint.safetensors" for run in plan.runs],
        "collapse": [tiny.results / run / f"collapse/{pooling}.json" for run in plan.runs for pooling in plan.poolings],
        "training": [tiny.results / run / "training.csv" for run in plan.runs],
        "record": folder / "summary.json",
    }
    return {
        "HDF5": command("data", plan.data().params, data=folder / "data.h5"),
        "checkpoint": command("train", plan.checkpoint(RUN).params, **trained, training=folder / "training.csv"),
        "features": command(
            "features", plan.features(RUN, "mean", "test").params, **network, features=folder / "mean/test.h5"
        ),
        "JSON": command("collapse", plan.collapse(RUN, "mean").params, **collapse),
        "figures": command("summary_figures", plan.summary_figures().params, **summary),
    }


KINDS = ("HDF5", "checkpoint", "features", "JSON", "figures")


def whole_files(folder):
    """The files under final names."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


@pytest.mark.parametrize("kind", KINDS)
def test_file_size_limit_reached_refused_and_nothing_left(tiny, tmp_path, kind, faults):
    """A quota that is used up in the middle of a file, at many places: the system refuses to write on."""
    words = stages(tiny, tmp_path / "out")[kind]
    done = finish(words)
    assert done.returncode == 0, done.stderr
    sizes = [path.stat().st_size for path in whole_files(tmp_path / "out")]
    shutil.rmtree(tmp_path / "out")
    limits = [600, *np.linspace(0, max(sizes), 5, dtype=int)[1:-1].tolist(), max(sizes) - 1]
    for limit in limits:
        done = finish(words, preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        refused(done, str(tmp_path / "out"))
        assert all(path.stat().st_size <= limit for path in whole_files(tmp_path / "out"))
        assert not list((tmp_path / "out").rglob(".*.partial*"))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert finish(words).returncode == 0
    faults(f"no room in the middle of a file ({kind})", len(limits), "one message that names the file; nothing left")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False).returncode:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=False)


@pytest.mark.parametrize("kind", ["HDF5", "checkpoint"])
def test_disk_full_refused_and_rerun_completes(tiny, small_disk, kind, faults):
    words = stages(tiny, small_disk / "out")[kind]
    refused(finish(words), str(small_disk), "No space left on device")
    assert [path.name for path in whole_files(small_disk)] == (["training.csv"] if kind == "checkpoint" else [])
    assert not list(small_disk.rglob(".*.partial*"))
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    done = finish(words)
    assert done.returncode == 0, done.stderr
    faults("full disk", 1, "one message that names the file; a rerun resumes once there is space")


def test_disk_read_only_refused(tiny, small_disk, faults):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for words in stages(tiny, small_disk / "out").values():
        refused(finish(words), str(small_disk), "Read-only file system")
    faults("read-only disk", len(KINDS), "one message that names the file")


def test_folder_removed_while_written_to_refused_and_rerun_completes(tiny, tmp_path, faults):
    words = stages(tiny, tmp_path / "out")["features"]
    gone = threading.Event()

    def remove():
        wait_for(lambda: list((tmp_path / "out").rglob(".*.partial*")), interval=0.001)
        shutil.rmtree(tmp_path / "out")
        gone.set()

    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    done = finish(words)
    thread.join(10)
    assert gone.is_set()
    refused(done, str(tmp_path / "out"))
    assert finish(words).returncode == 0
    faults("folder removed while it is written to", 1, "one message; a rerun makes it again")


def test_workflow_disk_full_refused_and_rerun_makes_the_same_file(tiny, tmp_path, small_disk, faults):
    """The results lie on the small disk; Snakemake's own books do not."""
    workflow = Workflow(tmp_path / "work", TINY | {"name": "full"})
    (tmp_path / "work/results").mkdir()
    (tmp_path / "work/results/full").symlink_to(small_disk)
    text = workflow("--until", "data", succeeds=False)
    assert re.search(r"^Error: .*data\.h5 .*No space left on device", text, re.MULTILINE), text
    assert not (small_disk / "data.h5").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    workflow("--until", "data")
    assert (small_disk / "data.h5").read_bytes() == (tiny.results / "data.h5").read_bytes()
    faults("full disk below the workflow", 1, "the message in Snakemake's output; a rerun resumes once there is space")


@pytest.mark.parametrize("number", ["ENOLCK", "ENOTSUP"])
def test_disk_without_file_locks_same_bytes(tiny, tmp_path, number, faults):
    if not (compiler := shutil.which("cc")):
        pytest.skip("needs a C compiler")
    (tmp_path / "shim.c").write_text(
        f"#include <errno.h>\nint flock(int fd, int operation) {{ errno = {number}; return -1; }}\n"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "shim.so", tmp_path / "shim.c"], check=True)
    start = "import sys; from featurepaths.workflow.start import start; start(sys.argv[1], 'results')"
    at_work = [sys.executable, "-c", start, tmp_path / "work"]
    words = [*stages(tiny, tmp_path / "out").values(), at_work]
    for each in words:
        done = finish(each, env=os.environ | {"LD_PRELOAD": str(tmp_path / "shim.so")})
        assert done.returncode == 0, done.stderr
    content = (tmp_path / "out/data.h5").read_bytes()
    assert content == (tiny.results / "data.h5").read_bytes()
    faults("disk without file locks (`flock` fails)", len(words), "nothing needs them: same bytes")
