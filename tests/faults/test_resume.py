"""Training and attacks that are killed and started again, as processes."""

import copy
import re
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from tests.experiments import TINY
from tests.processes import contents, options, stage, wait_for

SAVE_OFTEN = """
import runpy
import featurepaths.store.resume as resume
resume.SECONDS_BETWEEN_SAVES = 0.2
runpy.run_module("featurepaths.stages.train", run_name="__main__")
"""
SIGNAL_AFTER_SAVES = """
import os, runpy, signal
from featurepaths.paths import stream
from featurepaths.store import resume
save, left = resume.ResumeFiles.save, [{saves}]
def save_and_signal(*arguments):
    save(*arguments)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.{signal})
resume.ResumeFiles.save, resume.SECONDS_BETWEEN_SAVES, stream.SHARE_OF_SAVES = save_and_signal, 0, float("inf")
runpy.run_module("featurepaths.stages.{stage}", run_name="__main__")
"""
"""A stage that sends itself a signal when it has saved what it does some times, which it does after every block."""


def start(folder, data, params):
    files = {"checkpoint": folder / "checkpoint.safetensors", "training": folder / "training.csv"}
    return process(SAVE_OFTEN, options(params, device="cpu", data=data, **files))


def process(code, arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def state_files(folder):
    return list(folder.glob(".checkpoint.*.resume"))


def save_times(folder):
    return [path.stat().st_mtime_ns for path in state_files(folder)]


@pytest.mark.parametrize(("training", "precision"), [("standard", "float32"), ("adversarial", "bfloat16")])
def test_training_killed_three_times_same_bytes(tiny, tmp_path, training, precision):
    config = copy.deepcopy(TINY)
    config["training"][training].update(epochs=8, augment="crop-flip", precision=precision)
    params = Plan(read_experiment(config)).checkpoint(f"small-{training}-s0").params
    data = tiny.results / "data.h5"
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    whole = start(undisturbed, data, params)
    assert "resumed" not in whole.communicate()[0]
    assert whole.returncode == 0

    for seconds in (0.0, 0.1, 0.3):  # after a save, in the middle of what will be lost, or of another save
        before = save_times(killed)
        running = start(killed, data, params)
        wait_for(lambda before=before: save_times(killed) != before, running=running)
        with suppress(subprocess.TimeoutExpired):
            running.wait(seconds)
        running.kill()
        running.wait()
        assert not (killed / "checkpoint.safetensors").exists()
    last = start(killed, data, params)
    assert "resumed after" in last.communicate()[0]
    assert last.returncode == 0
    name = "checkpoint.safetensors"
    assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    assert [path.name for path in sorted(killed.iterdir())] == [name, "training.csv"], "the state is removed in the end"
    rows = [[line.split(",")[:4] for line in (folder / "training.csv").read_text().splitlines()]
            for folder in (killed, undisturbed)]  # fmt: skip
    assert rows[0] == rows[1], "all but the speed"


def test_training_state_of_other_configuration_not_resumed(tiny, tmp_path):
    config = copy.deepcopy(TINY)
    config["training"]["standard"].update(epochs=8)
    data = tiny.results / "data.h5"
    running = start(tmp_path, data, Plan(read_experiment(config)).checkpoint("small-standard-s0").params)
    wait_for(lambda: state_files(tmp_path), running=running)
    running.kill()
    running.wait()
    config["training"]["standard"].update(epochs=1, learning_rate=0.01)
    other = start(tmp_path, data, Plan(read_experiment(config)).checkpoint("small-standard-s0").params)
    assert "resumed" not in other.communicate()[0]
    assert other.returncode == 0
    assert not state_files(tmp_path)


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
def test_attack_stopped_resumes_same_bytes(tiny, tmp_path, end):
    params = Plan(read_experiment(TINY)).attack("small-standard-s0", "test", "apgd").params
    run = tiny.results / "small-standard-s0"
    files = {"data": tiny.results / "data.h5", "checkpoint": run / "checkpoint.safetensors"}
    arguments = options(params, device="cpu", adversarial=tmp_path / "test.apgd.h5", **files)
    stopped = process(SIGNAL_AFTER_SAVES.format(saves=1, signal=end, stage="attack"), arguments)
    text, _ = stopped.communicate()
    assert "Traceback" not in text
    assert not (tmp_path / "test.apgd.h5").exists()
    assert list(tmp_path.glob(".test.apgd.*.resume/0.npz"))
    (tmp_path / ".test.apgd.of-another-digest.resume").mkdir()
    last = stage("attack", *arguments)
    assert last.returncode == 0, last.stderr
    assert re.search(r"(?i)resumed after 1 of 3\b", last.stdout)
    assert not list(tmp_path.glob(".*.resume")), "states of other configurations are removed as well"
    assert (tmp_path / "test.apgd.h5").read_bytes() == (run / "attacks/test.apgd.h5").read_bytes()


# during the class means, in their last save, and during what is measured against them
@pytest.mark.parametrize("saves", [3, 23, 25])
@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
def test_streamed_classes_stopped_resume_same_bytes(tiny, tmp_path, end, saves, faults):
    outputs = {"centroids": ["flatten.h5", "mean.h5"], "collapse": ["flatten.json", "mean.json"]}

    def words(folder):
        arguments = ["--checkpoint", tiny.results / "small-standard-s0/checkpoint.safetensors"]
        arguments += ["--data", tiny.results / "data.h5", "--settings", '{"torch_threads": 1}', "--device", "cpu"]
        return arguments + [
            word for kind, names in outputs.items() for word in (f"--{kind}", *(folder / n for n in names))
        ]

    whole = stage("streamed_classes", *words(tmp_path / "undisturbed"))
    assert whole.returncode == 0, whole.stderr
    assert "resumed" not in whole.stdout
    code = SIGNAL_AFTER_SAVES.format(saves=saves, signal=end, stage="streamed_classes")
    stopped = process(code, words(tmp_path / "stopped"))
    text, _ = stopped.communicate()
    assert stopped.returncode == {"SIGKILL": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM}[end], text
    assert ("signal 15" in text) == (end == "SIGTERM")
    assert [path.name for path in (tmp_path / "stopped").glob("[!.]*")] == []
    last = stage("streamed_classes", *words(tmp_path / "stopped"))
    assert last.returncode == 0, last.stderr
    means, collapse = (f"{what}: resumed after" in last.stdout for what in ("class means", "collapse metrics"))
    assert means
    assert collapse == (saves == 25)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "undisturbed")
    assert list((tmp_path / "stopped").glob(".*.resume")) == []
    faults(f"{end} of stage streamed_classes", 1, "resumes; same bytes in the end")
