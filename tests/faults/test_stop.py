"""SIGTERM, with which schedulers warn: stages save what they can, and end within seconds."""

import copy
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from tests.experiments import TINY
from tests.processes import command

SECONDS = 10.0
STOPS = 6


def start(words):
    """Start a stage, and return it when its imports are done: then it says on which device it works."""
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert any(line.startswith("Device:") for line in running.stdout)
    return running


def run_whole(words):
    """Let a stage end by itself, and return what it printed and how long its work took."""
    running = start(words)
    began = time.monotonic()
    text, _ = running.communicate()
    assert running.returncode == 0, text
    return text, time.monotonic() - began


def made(folder):
    """Contents of the files with final names."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if "/." not in f"/{name}"}


def stop(words, folder, seconds, expected):
    """Stop a stage at random moments of its work, STOPS times, and return what it printed each time.

    Its work takes `seconds`, and less where a state was saved: what it makes is removed whenever it ends before.
    """
    chance, texts = random.Random(0), []
    while len(texts) < STOPS:
        running = start(words)
        with suppress(subprocess.TimeoutExpired):
            running.wait(chance.uniform(0, 0.9) * seconds)
        running.send_signal(signal.SIGTERM)
        began = time.monotonic()
        text, _ = running.communicate()
        assert time.monotonic() - began < SECONDS
        # the last while Python ends
        assert running.returncode in (0, 128 + signal.SIGTERM, -signal.SIGTERM), text
        assert "Traceback" not in text
        assert made(folder).items() <= expected.items(), "nothing half-written under a final name"
        if made(folder):
            shutil.rmtree(folder)
        else:
            texts.append(text)
    return texts


@pytest.mark.parametrize("training", ["standard", "adversarial"])
def test_training_stopped_anywhere_saves_and_resumes(tiny, tmp_path, training, faults):
    config = copy.deepcopy(TINY)
    config["training"][training].update(epochs=4, augment="crop-flip", batch_size=16)
    params = Plan(read_experiment(config)).checkpoint(f"small-{training}-s0").params
    files = {"device": "cpu", "data": tiny.results / "data.h5"}

    def words(folder):
        outputs = {"checkpoint": folder / "checkpoint.safetensors", "training": folder / "training.csv"}
        return command("train", params, **files, **outputs)

    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    _, seconds = run_whole(words(undisturbed))
    texts = stop(words(stopped), stopped, seconds, made(undisturbed))
    saved = list(stopped.glob(".checkpoint.*.resume"))
    text, _ = run_whole(words(stopped))
    assert ("resumed after" in text) == bool(saved)
    # of the others some were stopped before there was anything to save
    assert sum("signal 15" in text for text in texts) >= STOPS / 2
    assert any("resumed after" in text for text in [*texts, text])
    assert made(stopped) == made(undisturbed)
    assert not list(stopped.glob(".*"))
    faults(f"SIGTERM of {training} training", STOPS, f"saved, ended within {SECONDS:g} s; same bytes in the end")


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
    attack = {"adversarial": folder / "test.apgd.h5"}
    adaptive = {"adaptive": folder / "flatten.h5"}
    images = {"device": "cpu", "checkpoint": files["checkpoint"], "images": files["data"]}
    features = {"features": [folder / "mean/train.h5", folder / "flatten/train.h5"]}
    return {
        "attack": (command("attack", plan.attack(run, "test", "apgd").params, **files, **attack), "attacks"),
        "adaptive": (command("adaptive", plan.adaptive(run, "flatten").params, **frozen, **adaptive), "adaptive"),
        "features": (command("features", plan.features(run, "mean", "train").params, **images, **features), "features"),
    }


@pytest.mark.parametrize("stage", ["attack", "adaptive", "features"])
def test_stage_stopped_ends_within_seconds_and_rerun_makes_same_bytes(tiny, tmp_path, stage, faults):
    stopped = tmp_path / "stopped"
    words, kind = stages(Plan(read_experiment(TINY)), tiny.results, stopped)[stage]
    _, seconds = run_whole(words)
    there = tiny.results / "small-standard-s0" / kind
    expected = {name: (there / name).read_bytes() for name in made(stopped)}
    assert expected
    assert made(stopped) == expected
    shutil.rmtree(stopped)
    stop(words, stopped, seconds, expected)
    run_whole(words)
    assert made(stopped) == expected
    assert not list(stopped.rglob(".*"))
    faults(
        f"SIGTERM of stage {stage}", STOPS, f"ended within {SECONDS:g} s, nothing half-written; same bytes in the end"
    )
