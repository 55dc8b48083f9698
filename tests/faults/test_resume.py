"""Training and attacks that are killed and started again, as processes."""

import copy
import subprocess
import sys
import time

import pytest

from featurepaths.config import read_experiment
from featurepaths.plan import Plan
from tests.conftest import TINY

SAVE_OFTEN = """
import runpy
import featurepaths.training.loop as loop
loop.SECONDS_BETWEEN_SAVES = 0.2
runpy.run_module("featurepaths.stages.train", run_name="__main__")
"""
ATTACK = "import runpy; runpy.run_module('featurepaths.stages.attack', run_name='__main__')"
ATTACK_A_BLOCK = """
import runpy, time
import featurepaths.attacks.resume as resume
write = resume._write
def write_and_wait(*arguments):
    write(*arguments)
    time.sleep(600)
resume._write, resume.SECONDS_BETWEEN_SAVES = write_and_wait, 0
runpy.run_module("featurepaths.stages.attack", run_name="__main__")
"""


def start(folder, data, params):
    arguments = ["--settings", params["settings"], "--digest", params["digest"], "--device", "cpu", "--data", data]
    arguments += ["--checkpoint", folder / "checkpoint.safetensors", "--training", folder / "training.csv"]
    return process(SAVE_OFTEN, arguments)


def process(code, arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def state_files(folder):
    return list(folder.glob(".checkpoint.*.resume"))


@pytest.mark.parametrize(("training", "precision"), [("standard", "float32"), ("adversarial", "bfloat16")])
def test_sigkill_at_three_moments_changes_no_bit(tiny, tmp_path, training, precision):
    config = copy.deepcopy(TINY)
    config["training"][training].update(epochs=8, augment="crop-flip", precision=precision)
    params = Plan(read_experiment(config)).checkpoint(f"small-{training}-s0").params
    data = tiny.results / "data.h5"
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    whole = start(undisturbed, data, params)
    assert "resumed" not in whole.communicate()[0]
    assert whole.returncode == 0

    for seconds in (0.0, 0.1, 0.3):  # after a save, in the middle of what will be lost, or of another save
        before = [path.stat().st_mtime_ns for path in state_files(killed)]
        running = start(killed, data, params)
        while [path.stat().st_mtime_ns for path in state_files(killed)] == before:
            assert running.poll() is None, "it ended before it was killed: train longer"
            time.sleep(0.01)
        time.sleep(seconds)
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


def test_the_state_of_another_configuration_is_not_taken_up(tiny, tmp_path):
    config = copy.deepcopy(TINY)
    config["training"]["standard"].update(epochs=8)
    data = tiny.results / "data.h5"
    running = start(tmp_path, data, Plan(read_experiment(config)).checkpoint("small-standard-s0").params)
    while not state_files(tmp_path):
        assert running.poll() is None
        time.sleep(0.01)
    running.kill()
    running.wait()
    config["training"]["standard"].update(epochs=1, learning_rate=0.01)
    other = start(tmp_path, data, Plan(read_experiment(config)).checkpoint("small-standard-s0").params)
    assert "resumed" not in other.communicate()[0]
    assert other.returncode == 0
    assert not state_files(tmp_path)


def start_attack(code, folder, tiny, params):
    run = tiny.results / "small-standard-s0"
    arguments = ["--settings", params["settings"], "--digest", params["digest"], "--device", "cpu", "--split", "test"]
    arguments += ["--data", tiny.results / "data.h5", "--checkpoint", run / "checkpoint.safetensors"]
    arguments += ["--adversarial", folder / "test.apgd.h5"]
    return process(code, arguments)


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_an_attack_that_was_killed_goes_on_where_it_was(tiny, tmp_path, end):
    params = Plan(read_experiment(TINY)).attack("small-standard-s0", "test", "apgd").params
    stopped = start_attack(ATTACK_A_BLOCK, tmp_path, tiny, params)
    while not list(tmp_path.glob(".test.apgd.*.resume/0.npz")):
        assert stopped.poll() is None
        time.sleep(0.01)
    getattr(stopped, end)()
    stopped.wait()
    assert not (tmp_path / "test.apgd.h5").exists()
    (tmp_path / ".test.apgd.of-another-digest.resume").mkdir()
    last = start_attack(ATTACK, tmp_path, tiny, params)
    assert "Resumed after 1 of 3 blocks" in last.communicate()[0]
    assert last.returncode == 0
    assert not list(tmp_path.glob(".*.resume")), "states of other configurations are removed as well"
    undisturbed = tiny.results / "small-standard-s0/attacks/test.apgd.h5"
    assert (tmp_path / "test.apgd.h5").read_bytes() == undisturbed.read_bytes()
