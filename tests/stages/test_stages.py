"""Stages by hand, and what they refuse."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featurepaths.store.jsonfile import read_json
from featurepaths.store.origin import Origin
from featurepaths.store.provenance import read_origin
from featurepaths.store.resume import ResumeFiles
from tests.processes import refused, stage


@pytest.fixture
def run(tiny):
    return tiny.results / "small-standard-s0"


def test_a_stage_by_hand_makes_what_the_workflow_makes(run, tmp_path):
    done = stage("collapse", "--features", run / "features/mean/train.h5", "--collapse", tmp_path / "mean.json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mean.json").read_bytes() == (run / "collapse/mean.json").read_bytes()


def test_centroids_of_another_network_are_refused(tiny, run, tmp_path):
    other = tiny.results / "small-adversarial-s0/centroids/mean.h5"
    arguments = ["--features", run / "features/mean/test.h5", "--centroids", other]
    arguments += ["--paths", tmp_path / "mean/test.h5"]
    refused(stage("paths", *arguments), "do not belong together", "'checkpoint.safetensors'", "centroids/mean.h5")
    assert list(tmp_path.iterdir()) == []


def test_centroids_of_the_other_pooling_are_refused(run, tmp_path):
    arguments = ["--features", run / "features/mean/test.h5", "--centroids", run / "centroids/flatten.h5"]
    refused(stage("paths", *arguments, "--paths", tmp_path / "mean/test.h5"), "mean", "flatten")


def test_inputs_that_the_workflow_does_not_expect_are_refused(run, tmp_path):
    arguments = [
        "--features",
        run / "features/mean/train.h5",
        "--centroids",
        tmp_path / "mean.h5",
        "--digest",
        "0" * 20,
    ]
    refused(stage("centroids", *arguments), "not those that this run of the workflow expects", "train.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_named(tmp_path):
    done = stage("centroids", "--features", tmp_path / "none.h5", "--centroids", tmp_path / "mean.h5")
    refused(done, "none.h5 does not exist")


def test_a_truncated_input_is_named(run, tmp_path):
    whole = (run / "features/mean/train.h5").read_bytes()
    (tmp_path / "train.h5").write_bytes(whole[: len(whole) // 2])
    done = stage("centroids", "--features", tmp_path / "train.h5", "--centroids", tmp_path / "mean.h5")
    refused(done, "train.h5 cannot be read", "run snakemake again")
    assert [path.name for path in tmp_path.iterdir()] == ["train.h5"]


def test_a_missing_setting_is_named(run, tmp_path):
    settings = json.dumps({"protocol": "held-out", "layers": [1, 2]})
    paths = run / "paths/mean"
    arguments = ["--clean", paths / "calibration.h5", "--adversarial", paths / "calibration.apgd.max-loss.h5"]
    path = tmp_path / "mean/feature-paths.held-out.json"
    done = stage("threshold", "--settings", settings, *arguments, "--threshold", path)
    assert done.returncode == 2
    assert "--settings: weights: Field required" in done.stderr


def test_settings_that_are_not_json_are_named(tmp_path):
    done = stage("collapse", "--settings", "{", "--features", "a", "--collapse", tmp_path / "b.json")
    assert done.returncode == 2
    assert "--settings: Invalid JSON" in done.stderr


def test_chosen_layers_and_weights_are_used(run, tmp_path):
    settings = {
        "protocol": "held-out",
        "layers": [2, 3],
        "weights": ["1/4", "3/4"],
        "false_positive_rates": ["1/10", "1/200"],
    }
    paths, path = run / "paths/mean", tmp_path / "mean/feature-paths.held-out.json"
    arguments = ["--clean", paths / "calibration.h5", "--adversarial", paths / "calibration.apgd.max-loss.h5"]
    done = stage("threshold", "--settings", json.dumps(settings), *arguments, "--threshold", path)
    assert done.returncode == 0, done.stderr
    content = read_json(path)
    assert content["layers"] == [2, 3]
    assert content["weights"] == [0.25, 0.75]
    assert set(content["thresholds"]) == {"otsu", "fpr-10", "fpr-0.5"}
    assert content["calibrated_on"] == ["paths/mean/calibration", "paths/mean/calibration.apgd.max-loss"]


def test_clean_paths_of_another_pooling_are_refused(run, tmp_path):
    settings = json.dumps({"protocol": "paper", "layers": [1], "weights": "equal"})
    clean, adversarial = run / "paths/mean/test.h5", run / "paths/flatten/test.apgd.max-loss.h5"
    arguments = ["--clean", clean, "--adversarial", adversarial]
    arguments += ["--threshold", tmp_path / "flatten/feature-paths.held-out.json"]
    refused(stage("threshold", "--settings", settings, *arguments), "mean", "flatten")


def test_test_images_are_not_passed_off_as_calibration_images(tiny, run, tmp_path):
    """The digest that the workflow expects of a held-out threshold is that of calibration images."""
    from featurepaths.experiment.config.messages import read_experiment
    from featurepaths.experiment.plan import Plan
    from tests.experiments import TINY

    params = Plan(read_experiment(TINY)).threshold("small-standard-s0", "mean", "held-out").params
    options = ["--settings", params["settings"], "--digest", params["digest"], "--collapse", run / "collapse/mean.json"]
    for images, accepted in (("calibration", True), ("test", False)):
        clean, adversarial = (run / f"paths/mean/{images}{end}.h5" for end in ("", ".apgd.max-loss"))
        path = tmp_path / "mean/feature-paths.held-out.json"
        done = stage("threshold", *options, "--clean", clean, "--adversarial", adversarial, "--threshold", path)
        assert (done.returncode == 0) == accepted, done.stderr
    refused(done, "not those that this run of the workflow expects")


def test_a_folder_that_changed_meanwhile_is_refused(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / part / "cat/1.png")
    data = {"source": "folder", "root": str(tmp_path), "calibration": 0}
    settings = json.dumps({"data": data, "contents": "of before"})
    done = stage("data", "--settings", settings, "--data", tmp_path / "data.h5")
    progress, _, done.stderr = done.stderr.partition("\n")
    assert progress.startswith("reading ")
    refused(done, "changed meanwhile")


def test_a_data_set_of_torchvision(tmp_path):
    data = {
        "source": "torchvision",
        "dataset": "FakeData",
        "arguments": {"image_size": [3, 40, 50], "num_classes": 2},
        "train": {"size": 60},
        "test": {"size": 40, "random_offset": 60},
        "size": 32,
        "calibration": "1/5",
        "seed": 0,
    }
    done = stage("data", "--settings", json.dumps({"data": data}), "--data", tmp_path / "made/data.h5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "FakeData, read by torchvision: 48 train, 12 calibration, 40 test\n"
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["data.h5"]
    settings = json.dumps({"data": {**data, "dataset": "SVHN", "root": str(tmp_path)}})
    done = stage("data", "--settings", settings, "--data", tmp_path / "made/data.h5")
    refused(done, "torchvision's SVHN cannot be opened with", "unexpected keyword argument")


def test_arrays_and_code_that_changed_meanwhile_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("train", "test"):
        np.savez(f"{part}.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) % 2)
    (tmp_path / "own_data.py").write_text("raise SystemExit")
    before = set(tmp_path.iterdir())
    arrays = {"source": "arrays", "train": "train.npz", "test": "test.npz", "calibration": 0}
    factory = {"source": "factory", "factory": "own_data:make", "calibration": 0}
    done = stage("data", "--settings", json.dumps({"data": arrays, "contents": "of before"}), "--data", "data.h5")
    progress, _, done.stderr = done.stderr.partition("\n")
    assert progress.startswith("reading train.npz and test.npz")
    refused(done, "A file of data.train or data.test changed meanwhile")
    done = stage("data", "--settings", json.dumps({"data": factory, "contents": "of before"}), "--data", "data.h5")
    refused(done, "The code of own_data:make changed meanwhile")
    assert set(tmp_path.iterdir()) == before


def test_an_attack_is_named_after_its_split(tiny, run, tmp_path):
    arguments = ["--data", tiny.results / "data.h5", "--checkpoint", run / "checkpoint.safetensors"]
    arguments += ["--settings", json.dumps({"attack": {"eps": "1/10"}, "seed": 0})]
    done = stage("attack", *arguments, "--adversarial", tmp_path / "tests.apgd.h5")
    refused(done, "tests.apgd.h5 is to be called attacks/{split}.{attack}.h5")
    done = stage("attack", *arguments, "--shard", "1-of-2", "--adversarial", tmp_path / "test.apgd/2-of-2.h5")
    refused(done, "2-of-2.h5 is to be called attacks/{split}.{attack}.h5", "1-of-2")


def test_streamed_artefacts_are_named_after_their_images_and_poolings(tiny, run, tmp_path):
    network = ["--checkpoint", run / "checkpoint.safetensors", "--settings", json.dumps({"torch_threads": 1})]
    arguments = [*network, "--images", tiny.results / "data.h5", "--centroids", run / "centroids/mean.h5"]
    done = stage("streamed_paths", *arguments, "--paths", tmp_path / "mean/tests.h5")
    refused(done, "call it train or calibration or test.h5")
    arguments = [*network, "--data", tiny.results / "data.h5", "--centroids", tmp_path / "mean.h5"]
    done = stage("streamed_classes", *arguments, "--collapse", tmp_path / "flatten.json")
    refused(done, "of the same poolings")
    assert list(tmp_path.iterdir()) == []


def test_detectors_that_see_no_dump_need_the_network(tiny, run, tmp_path):
    attack, centroids = run / "attacks/test.apgd.h5", run / "centroids/mean.h5"
    arguments = ["--detectors", run / "detectors/mean.h5", "--centroids", centroids, "--test", tiny.results / "data.h5"]
    arguments += ["--calibration", attack, "--adversarial", attack, "--settings", json.dumps({"torch_threads": 1})]
    done = stage(
        "detector_evaluation",
        *arguments,
        "--metrics",
        tmp_path / "mean/detector_evaluation.json",
        "--records",
        tmp_path / "r.h5",
    )
    refused(done, "--checkpoint is needed", "data.h5 is no feature dump")
    assert list(tmp_path.iterdir()) == []


def test_one_thread_for_linear_algebra():
    code = (
        "import numpy, threadpoolctl; from featurepaths.stages import cli;"
        "show = lambda arguments: print({i['num_threads'] for i in threadpoolctl.threadpool_info()"
        " if i['user_api'] == 'blas'});"
        "cli.run_safely(lambda: show(None))"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "{1}"


def test_paths_of_other_images_are_refused(run, tmp_path):
    paths = run / "paths/mean"
    settings = {"protocol": "paper", "layers": [1], "weights": "equal"}
    arguments = ["--clean", paths / "calibration.h5", "--adversarial", paths / "test.apgd.max-loss.h5"]
    done = stage(
        "threshold",
        "--settings",
        json.dumps(settings),
        *arguments,
        "--threshold",
        tmp_path / "mean/feature-paths.held-out.json",
    )
    refused(done, "do not hold the same images")


def test_training_resists_a_data_set_that_is_none(tmp_path):
    (tmp_path / "data.h5").write_text("not HDF5")
    arguments = ["--data", tmp_path / "data.h5", "--checkpoint", tmp_path / "c.safetensors"]
    settings = {"model": {"architecture": "resnet18"}, "training": {}, "seed": 0}
    done = stage("train", "--settings", json.dumps(settings), *arguments, "--training", tmp_path / "training.csv")
    refused(done, "data.h5 cannot be read")


def test_a_device_that_is_not_there_is_told(run, tmp_path, tiny):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    settings = json.dumps({"torch_threads": 1})
    arguments = ["--checkpoint", run / "checkpoint.safetensors", "--images", tiny.results / "data.h5"]
    arguments += ["--device", "cuda"]
    done = stage("features", "--settings", settings, *arguments, "--features", tmp_path / "mean/test.h5")
    refused(done, "device: cuda")


def test_progress_is_plain_lines_in_a_log(run):
    log = (run / "logs/train.log").read_text()
    assert "epoch 4, loss" in log
    assert re.search(r"epoch 4 of 4: \d+ of \d+ batches, \d+\.\d s", log)
    assert "\r" not in log
    assert "blocks of 64" in (run / "logs/attack.test.apgd.log").read_text()


def test_origin_names_all_ancestors(run):
    origin = read_origin(run / "paths/mean/test.apgd.max-loss.h5")
    assert set(origin.ancestors) == {"data.h5", "checkpoint.safetensors", "attacks/test.apgd.h5",
                                     "features/mean/train.h5", "features/mean/test.apgd.max-loss.h5",
                                     "centroids/mean.h5"}  # fmt: skip


def test_a_copy_elsewhere_is_as_good(run, tmp_path):
    shutil.copy(run / "features/mean/train.h5", tmp_path / "elsewhere.h5")
    done = stage("centroids", "--features", tmp_path / "elsewhere.h5", "--centroids", tmp_path / "mean.h5")
    assert done.returncode == 0
    assert read_origin(tmp_path / "mean.h5") == read_origin(run / "centroids/mean.h5")


def test_what_was_saved_on_the_way_is_removed_once_it_is_not_needed(tmp_path):
    artefact = tmp_path / "test.apgd.h5"
    for name in (
        ".test.apgd.one.resume",
        ".test.apgd.other.cuda.resume",
        ".test.apgd2.one.resume",
        ".train.apgd.one.resume",
    ):
        (tmp_path / name).mkdir()
    for name in (
        ".test.apgd.file.resume",
        "..test.apgd.file.host-1.partial.resume",
        "..test.apgd2.host-1.partial.resume",
    ):
        (tmp_path / name).touch()
    origin = Origin("attacks/test.apgd", "one")
    progress = ResumeFiles(artefact, origin.key, "NVIDIA H100")
    assert progress.path == tmp_path / f".test.apgd.{origin.key}.NVIDIA-H100.resume"
    with_other_inputs = replace(origin, inputs=("0badcafe",))
    assert ResumeFiles(artefact, with_other_inputs.key, "NVIDIA H100").path != progress.path
    progress.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "..test.apgd2.host-1.partial.resume",
        ".test.apgd2.one.resume",
        ".train.apgd.one.resume",
    ]


LOST = """
import os, signal, time, weakref
from featurepaths.stages import cli

class Thing: pass

def main(arguments):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.1)))
    del thing
    time.sleep(5)
    print("went on")

cli.run_safely(lambda: main(None))
"""


def test_a_stop_in_a_callback_whose_errors_python_ignores_is_not_lost():
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + 15
    assert done.stdout == done.stderr == ""


DISGUISED = """
import os, signal
from featurepaths.errors import FeaturePathsError
from featurepaths.stages import cli

def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except SystemExit as error:
        raise FeaturePathsError("checkpoint cannot be read") from error

cli.run_safely(work)
"""


def test_stop_reported_as_read_error_ends_by_signal():
    done = subprocess.run([sys.executable, "-c", DISGUISED], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + 15
    assert "Error" not in done.stderr
