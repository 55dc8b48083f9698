"""Equal recipes with other contents: files made from other bytes are made again, or refused by name.

A processor with other arithmetic is simulated by settings of torch and of oneDNN. That they change the bytes of a
trained network is checked first.
"""

import copy
import re
import shutil

import numpy as np
import pytest

from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.provenance import read_version
from tests.experiments import small_experiment
from tests.processes import Workflow, jobs

OTHER_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41"}
EXPERIMENT = small_experiment(
    "small", training={"standard": {"epochs": 2, "learning_rate": 0.05}}, detectors=["confidence"]
)
RUN = "small-standard-s0"
FAULT = "file made again with other bytes by an equal recipe (forced, missing, damaged, replaced, moved, shards)"
OUTCOME = "all that depends on it is made again, or refused by name; tables are those made afresh"


def changed(**sections):
    """Return the experiment with some keys of its sections changed."""
    config = copy.deepcopy(EXPERIMENT)
    for name, values in sections.items():
        config[name] |= values
    return config


LONGER = changed(attacks={"apgd": EXPERIMENT["attacks"]["apgd"] | {"iterations": 4}})
ANOTHER = changed(attacks={"another": {"eps": "1/20", "iterations": 2, "stopping_rule": ["max-loss"]}})


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    workflow = Workflow(tmp_path_factory.mktemp("complete"), EXPERIMENT)
    workflow()
    return workflow


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The same experiment, made on the other processor."""
    workflow = Workflow(tmp_path_factory.mktemp("elsewhere"), EXPERIMENT)
    workflow(environment=OTHER_PROCESSOR)
    return workflow


@pytest.fixture
def moved(complete, tmp_path):
    """A copy of the complete experiment, which tests may change."""
    shutil.copytree(complete.folder / "results", tmp_path / "results")
    return Workflow(tmp_path, EXPERIMENT)


def configured(workflow, config):
    return Workflow(workflow.folder, config)


def everything_but(*rules):
    """The jobs of the whole experiment but for some rules."""
    counts = {"data": 1, "train": 1, "attack": 2, "features": 1, "attacked_features": 2, "clean_paths": 1,
              "attacked_paths": 2, "calibration": 1, "evaluation": 1, "run_figures": 1, "detectors": 1,
              "detector_evaluation": 1, "tables": 1, "comparison": 1, "summary_figures": 1,
              "comparison_figures": 1, "explorer": 1, "configuration": 1}  # fmt: skip
    return {rule: count for rule, count in counts.items() if rule not in rules}


def networks_in(workflow):
    """Return the versions of the checkpoint that artefacts descend from, and that which is there."""
    versions = {str(read_version(workflow.results / RUN / "checkpoint.safetensors"))}
    for path in (workflow.results / RUN).rglob("*.h5"):
        versions.add(read_version(path).origin.ancestors["checkpoint.safetensors"])
    for path in (workflow.results / RUN).rglob("*.json"):
        versions.add(read_version(path).origin.ancestors["checkpoint.safetensors"])
    return versions


def tables_of(workflow):
    return {path.name: path.read_text() for path in (workflow.results / "tables").glob("*.csv")}


def test_checkpoint_of_other_processor_same_origin_other_contents(complete, elsewhere):
    version, other = (read_version(each.results / RUN / "checkpoint.safetensors") for each in (complete, elsewhere))
    assert version.origin == other.origin
    assert version.contents != other.contents


def test_training_forced_on_other_processor_reruns_all_dependents(moved, elsewhere, faults):
    forced = ("--forcerun", "train")
    assert jobs(moved("--dry-run", *forced)) == everything_but("data", "configuration")
    moved(*forced, environment=OTHER_PROCESSOR)
    assert len(networks_in(moved)) == 1
    assert tables_of(moved) == tables_of(elsewhere)
    assert "Nothing to be done" in moved()
    faults(FAULT, 1, OUTCOME)


def test_training_forced_alone_dependents_rerun_next(moved, elsewhere, faults):
    moved("--forcerun", "train", "--until", "train", environment=OTHER_PROCESSOR)
    assert len(networks_in(moved)) == 2
    assert jobs(moved("--dry-run")) == everything_but("data", "train", "configuration")
    moved(environment=OTHER_PROCESSOR)
    assert len(networks_in(moved)) == 1
    assert tables_of(moved) == tables_of(elsewhere)
    faults(FAULT, 1, OUTCOME)


def test_checkpoint_missing_comes_out_different_refused_then_rerun(moved, elsewhere, tmp_path, faults):
    (moved.results / RUN / "checkpoint.safetensors").unlink()
    longer = configured(moved, LONGER)
    message = longer(environment=OTHER_PROCESSOR, succeeds=False)
    assert re.search(r"^Error: .*checkpoint\.safetensors", message, re.MULTILINE)
    longer(environment=OTHER_PROCESSOR)
    assert len(networks_in(longer)) == 1
    assert "Nothing to be done" in longer()
    afresh = Workflow(tmp_path / "afresh", LONGER)
    afresh(environment=OTHER_PROCESSOR)
    assert tables_of(longer) == tables_of(afresh)
    faults(FAULT, 1, OUTCOME)


def test_checkpoint_missing_comes_out_same_nothing_else_runs(moved, faults):
    checkpoint = moved.results / RUN / "checkpoint.safetensors"
    weights = checkpoint.read_bytes()
    checkpoint.unlink()
    assert "Nothing to be done" in moved()  # nothing needs it
    moved(str(checkpoint.relative_to(moved.folder)))
    assert checkpoint.read_bytes() == weights
    assert "Nothing to be done" in moved()
    faults(FAULT, 1, OUTCOME)


def test_checkpoint_remade_on_other_processor_dependents_rerun(moved, faults):
    checkpoint = moved.results / RUN / "checkpoint.safetensors"
    checkpoint.unlink()
    moved(str(checkpoint.relative_to(moved.folder)), environment=OTHER_PROCESSOR)
    assert jobs(moved("--dry-run")) == everything_but("data", "train", "configuration")
    faults(FAULT, 1, OUTCOME)


def test_dump_damaged_comes_out_different_refused_at_end(moved, faults):
    """Nothing else runs that could refuse it."""
    (moved.results / RUN / "features/mean/train.h5").write_bytes(b"")
    assert jobs(moved("--dry-run")) == {"features": 1}
    message = moved(environment=OTHER_PROCESSOR, succeeds=False)
    assert "centroids/mean.h5" in message.partition("WorkflowError")[2]
    unconcerned = ("data", "train", "attack", "features", "attacked_features", "configuration")
    assert jobs(moved("--dry-run")) == everything_but(*unconcerned)
    moved(environment=OTHER_PROCESSOR)
    assert "Nothing to be done" in moved()
    faults(FAULT, 1, OUTCOME)


def test_checkpoint_replaced_with_equal_recipe_dependents_rerun(moved, elsewhere, faults):
    shutil.copy(elsewhere.results / RUN / "checkpoint.safetensors", moved.results / RUN)
    shutil.copy(elsewhere.results / RUN / "training.csv", moved.results / RUN)
    assert jobs(moved("--dry-run")) == everything_but("data", "train", "configuration")
    moved(environment=OTHER_PROCESSOR)
    assert len(networks_in(moved)) == 1
    assert tables_of(moved) == tables_of(elsewhere)
    faults(FAULT, 1, OUTCOME)


def test_checkpoint_replaced_with_temporary_dumps_dependents_rerun(complete, elsewhere, tmp_path, faults):
    shutil.copytree(complete.folder / "results", tmp_path / "results")
    workflow = Workflow(tmp_path, changed(features={"storage": "temporary"}))
    workflow()
    for dump in workflow.results.glob("*/features/*/*.h5"):
        dump.unlink()
    assert "Nothing to be done" in workflow()
    for name in ("checkpoint.safetensors", "training.csv"):
        shutil.copy(elsewhere.results / RUN / name, workflow.results / RUN)
    assert {"clean_paths", "calibration", "detectors", "tables"} <= jobs(workflow("--dry-run")).keys()
    faults(FAULT, 1, OUTCOME)


def test_results_moved_to_other_processor_extended_with_their_network(moved, faults):
    another = configured(moved, ANOTHER)
    planned = jobs(another("--dry-run"))
    assert planned.keys().isdisjoint({"data", "train", "features", "clean_paths", "detectors"})
    another(environment=OTHER_PROCESSOR)
    assert len(networks_in(another)) == 1
    assert "Nothing to be done" in another()
    faults(FAULT, 1, OUTCOME)


def test_shards_of_two_networks_not_gathered(complete, elsewhere, tmp_path, faults):
    config = changed(data={"test": 0.1}) | {"shards": {"attacks": 2}}
    shutil.copytree(complete.folder / "results", tmp_path / "results")
    workflow = Workflow(tmp_path, config)
    attack = workflow.results / RUN / "attacks/test.apgd.h5"
    attack.unlink()
    name = str(attack.relative_to(tmp_path))
    first = name.replace(".h5", "/1-of-2.h5")
    workflow("--notemp", first)
    for file in ("checkpoint.safetensors", "training.csv"):
        shutil.copy(elsewhere.results / RUN / file, workflow.results / RUN)
    assert jobs(workflow("--dry-run", name))["attack"] == 2  # the first one is of the other network
    workflow(name, environment=OTHER_PROCESSOR)
    with open_hdf5(attack) as file, open_hdf5(elsewhere.results / RUN / "attacks/test.apgd.h5") as other:
        assert np.array_equal(file["max-loss/adversarial"][:], other["max-loss/adversarial"][:])
    faults(FAULT, 1, OUTCOME)
