"""SIGTERM, with which schedulers warn: stages save what they can, and end within seconds."""

import copy
import random
import signal
import subprocess
import time

import pytest

from featurepaths.config import read_experiment
from featurepaths.plan import Plan
from tests.conftest import TINY
from tests.faults.stages import command

SECONDS = 10.0
STOPS = 6


def start(words):
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop(words, after):
    """Start a stage, stop it some seconds later, and return what it printed and how long the end took; None if it was
    through by then."""
    running = start(words)
    try:
        running.wait(after)
    except subprocess.TimeoutExpired:
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        text, _ = running.communicate()
        # the latter while Python starts or ends
        assert running.returncode in (128 + signal.SIGTERM, -signal.SIGTERM), text
        assert "Traceback" not in text
        return text, time.monotonic() - began
    assert running.returncode == 0, running.communicate()[0]
    return None


@pytest.mark.parametrize("training", ["standard", "adversarial"])
def test_a_training_saves_its_state_whatever_it_is_at(tiny, tmp_path, training, faults):
    config = copy.deepcopy(TINY)
    config["training"][training].update(epochs=8, augment="crop-flip", batch_size=16)
    params = Plan(read_experiment(config)).checkpoint(f"small-{training}-s0").params
    files = {"device": "cpu", "data": tiny.results / "data.h5"}

    def words(folder):
        made = {"checkpoint": folder / "checkpoint.safetensors", "training": folder / "training.csv"}
        return command("train", params, **files, **made)

    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    whole = start(words(undisturbed))
    whole.communicate()
    chance, stops, resumed = random.Random(0), 0, 0
    for _ in range(STOPS):
        found = stop(words(stopped), chance.uniform(2.5, 5))
        if found is None:
            break
        text, seconds = found
        stops += 1
        assert seconds < SECONDS
        assert not [path for path in stopped.glob("*") if not path.name.startswith(".")], "nothing under a final name"
        resumed += "The state is saved" in text
    last = start(words(stopped))
    assert "resumed after" in last.communicate()[0]
    assert resumed > 0
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == {
        path.name: path.read_bytes() for path in undisturbed.iterdir()
    }
    faults(f"SIGTERM of {training} training", stops, f"state saved, ended within {SECONDS:g} s; same bytes in the end")


def stages(plan, results, folder):
    """Command lines of the stages that run networks, and what they make."""
    run = "small-standard-s0"
    there = results / run
    files = {"device": "cpu", "checkpoint": there / "checkpoint.safetensors", "data": results / "data.h5"}
    frozen = files | {
        "centroids": there / "centroids/flatten.h5",
        "threshold": there / "thresholds/flatten/feature-paths.held-out.json",
        "selection": there / "selection/flatten/held-out.json",
        "detectors": there / "detectors/flatten.h5",
        "attack": there / "attacks/test.apgd.h5",
    }
    attack = {"split": "test", "adversarial": folder / "test.apgd.h5"}
    adaptive = {"adaptive": folder / "flatten.h5"}
    features = {"features": [folder / "mean/train.h5", folder / "flatten/train.h5"]}
    return {
        "attack": (command("attack", plan.attack(run, "test", "apgd").params, **files, **attack), "attacks"),
        "adaptive": (command("adaptive", plan.adaptive(run, "flatten").params, **frozen, **adaptive), "adaptive"),
        "features": (command("features", plan.features(run, "mean", "train").params, **files, **features), "features"),
    }


@pytest.mark.parametrize("stage", ["attack", "adaptive", "features"])
def test_stages_end_within_seconds_and_make_the_same_afterwards(tiny, tmp_path, stage, faults):
    words, kind = stages(Plan(read_experiment(TINY)), tiny.results, tmp_path)[stage]
    began = time.monotonic()
    whole = start(words)
    whole.communicate()
    seconds = time.monotonic() - began
    chance, stops = random.Random(0), 0
    for _ in range(STOPS):
        for path in tmp_path.rglob("*.h5"):
            path.unlink()
        found = stop(words, chance.uniform(0.1, 0.9) * seconds)
        if found is None or [path for path in tmp_path.rglob("*.h5") if not path.name.startswith(".")]:
            continue  # it had finished
        stops += 1
        assert found[1] < SECONDS
    assert stops > 0
    running = start(words)
    text, _ = running.communicate()
    assert running.returncode == 0, text
    made = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert made
    for path in made:
        assert (
            path.read_bytes() == (tiny.results / "small-standard-s0" / kind / path.relative_to(tmp_path)).read_bytes()
        )
    faults(
        f"SIGTERM of stage {stage}", stops, f"ended within {SECONDS:g} s, nothing half-written; same bytes in the end"
    )
