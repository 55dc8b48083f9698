"""Artefacts that are cut short, changed, exchanged or old are refused, never read."""

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from featurepaths.errors import FeaturePathsError
from featurepaths.store.jsonfile import read_description, read_json
from featurepaths.store.provenance import check_files, read_origin
from featurepaths.store.resume import ResumeFiles
from featurepaths.training.state import TrainingState
from tests.experiments import TINY
from tests.faults.artefacts import KINDS, OTHER, RUN, read
from tests.processes import Workflow, jobs, refused, stage


def refused_or_the_same(path, expected):
    """Whether an artefact is refused, by a message with its path and the command to run; if not, it is unchanged."""
    message = None
    try:
        content = read(path)
    except FeaturePathsError as error:
        message = str(error)
    if message is None:
        assert content == expected, f"{path} has other content"
        return False
    assert str(path) in message
    assert "snakemake" in message
    return True


@pytest.fixture(params=KINDS)
def artefact(request, tiny, tmp_path):
    """One of every kind: its bytes, what it says, and a path to put it at when it is damaged."""
    there = tiny.results / KINDS[request.param]
    return there.read_bytes(), read(there), tmp_path / there.name


def test_artefact_truncated_refused(artefact, faults):
    whole, expected, path = artefact
    random = np.random.default_rng(0)
    lengths = {0, 1, 511, 512, 513, len(whole) - 1, *random.integers(0, len(whole), 40).tolist()}
    lengths = {length for length in lengths if length < len(whole)}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        refused = refused_or_the_same(path, expected)
        assert refused or whole[length:].strip() == b"", f"{length} of {len(whole)} bytes"
    faults("artefact cut short", len(lengths), "refused with its name and what to do; never read")


def test_artefact_bit_flipped_refused_or_unchanged(artefact, faults):
    whole, expected, path = artefact
    random = np.random.default_rng(1)
    header = whole.index(b"\n") if path.suffix == ".h5" else 1024  # what follows in front of HDF5's part is padding
    places = [*range(0, min(header, len(whole)), 8), *random.integers(0, len(whole), 40).tolist()]
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        refused += refused_or_the_same(path, expected)
    assert refused >= 0.7 * len(places), "of what is padding or white space nothing depends"
    faults("bit of an artefact flipped", len(places), "refused by name, or it changes nothing that is read")


def training_state():
    """The state of a training that has not begun, of a new network."""
    network = torch.nn.Linear(40, 40)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [])
    return TrainingState(network, optimizer, scheduler, torch.Generator().manual_seed(1), "float32")


def test_saved_state_bit_flipped_passed_over_or_unchanged(tmp_path, faults):
    """torch does not check the checksums of its zip files."""
    saved, progress = training_state(), ResumeFiles(tmp_path / "checkpoint", "key")
    path = progress.path
    saved.save(progress)
    whole, random = path.read_bytes(), np.random.default_rng(2)
    weights = saved.network.weight.detach().numpy().tobytes()
    places, passed_over = random.integers(0, len(whole), 200), 0
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << random.integers(8))]) + whole[place + 1 :])
        state = training_state()
        if state.load(progress):
            assert state.network.weight.detach().numpy().tobytes() == weights
            assert torch.equal(state.generator.get_state(), saved.generator.get_state())
        else:
            passed_over += 1
    assert passed_over > len(places) / 2
    faults("bit of a saved state flipped", len(places), "restarts, or resumes with what was saved")


def test_tables_figures_and_curves_damaged_refused_with_file(tiny, tmp_path, faults):
    """The record, or the checkpoint, beside them holds their checksums."""
    count = 0
    for record in ("tables/tables.json", "figures/summary.json", f"{RUN}/checkpoint.safetensors"):
        folder = tmp_path / record.replace("/", ".")
        shutil.copytree((tiny.results / record).parent, folder)
        check_files(folder / record.rpartition("/")[2])
        describe = read_description if record.endswith(".safetensors") else read_json
        described = describe(folder / record.rpartition("/")[2])
        for name in described["files"]:
            whole = (folder / name).read_bytes()
            for damaged in (whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], b""):
                (folder / name).write_bytes(damaged)
                with pytest.raises(FeaturePathsError, match=re.escape(name)):
                    check_files(folder / record.rpartition("/")[2])
                count += 1
            (folder / name).write_bytes(whole)
    assert count > 60
    faults("table, figure or training curve damaged", count, "noticed by its record, and made again")


def test_artefacts_of_another_run_refused_by_stages(tiny, tmp_path, faults):
    """The other run of the experiment has files of the same names and shapes; only their origins differ."""
    run, other = tiny.results / RUN, tiny.results / OTHER
    exchanged = 0
    for ours, theirs in ((run, other), (other, run)):
        for pooling in ("mean", "flatten"):
            features, centroids = ours / f"features/{pooling}/test.h5", theirs / f"centroids/{pooling}.h5"
            folder = tmp_path / pooling
            arguments = ["--features", features, "--centroids", centroids, "--paths", folder / "test.h5"]
            refused(stage("paths", *arguments), str(features), str(centroids))
            clean = ours / f"paths/{pooling}/test.h5"
            outputs = ["--metrics", folder / "feature-paths.apgd.max-loss.json", "--records", folder / "out.h5"]
            for thresholds, attacked in ((ours, theirs), (theirs, ours)):
                threshold = thresholds / f"thresholds/{pooling}/feature-paths.held-out.json"
                adversarial = attacked / f"paths/{pooling}/test.apgd.max-loss.h5"
                inputs = ["--thresholds", threshold, "--clean", clean, "--adversarial", adversarial]
                refused(stage("detection", *inputs, *outputs), f"{ours}/", f"{theirs}/")
            exchanged += 3
    assert list(tmp_path.iterdir()) == []
    faults("artefact of another run in its place", exchanged, "refused with the names of both files")


def test_artefacts_of_another_run_planned_again_by_workflow(tiny, tmp_path, faults):
    """Every file of each run lies where the other one's of the same name belongs."""
    workflow, exchanged = Workflow(tmp_path, TINY), 0
    for path in filter(Path.is_file, tiny.results.rglob("*")):
        name = there = str(path.relative_to(tiny.results))
        for swapped in ((RUN, "?"), (OTHER, RUN), ("?", OTHER)):
            name = name.replace(*swapped)
        (workflow.results / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, workflow.results / name)
        exchanged += name != there
    every = jobs(workflow("--dry-run", "--forceall"))
    again = jobs(workflow("--dry-run"))
    of_all_runs = {"data", "configuration", "tables", "comparison", "summary_figures", "explorer"}
    assert every.keys() - again.keys() == of_all_runs
    assert again.items() <= every.items()
    faults("file of another run in its place, when the workflow starts", exchanged, "planned to be made again")


@pytest.mark.parametrize("kind", KINDS)
def test_artefact_of_older_format_refused(tiny, tmp_path, kind, faults):
    whole = tiny.results / KINDS[kind]
    path = tmp_path / whole.name
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(json.loads(whole.read_text()) | {"format": 1}))
        case ".safetensors":
            save_file(load_file(whole), path, metadata={"featurepaths": '{"format": 1, "origin": {}}'})
        case _:  # what was in attributes then is in front of the file now
            with h5py.File(whole) as new, h5py.File(path, "w") as old:
                for name in new:
                    new.copy(name, old)
                old.attrs["format"] = 1
    for function in (read, read_origin):
        with pytest.raises(FeaturePathsError, match="snakemake") as refusal:
            function(path)
        assert str(path) in str(refusal.value)
    faults("artefact of an older format", 1, "refused by name; the workflow makes it again")


def test_input_bit_flipped_refused_by_stage_and_rerun_restores(tiny, tmp_path, faults):
    """Snakemake reads only the front of a file, the stage reads all of it. A retry asks for more memory."""
    shutil.copytree(tiny.folder, tmp_path / "copy")
    workflow = Workflow(tmp_path / "copy", TINY)
    data, checkpoint = workflow.results / "data.h5", workflow.results / RUN / "checkpoint.safetensors"
    whole, weights = data.read_bytes(), checkpoint.read_bytes()
    data.write_bytes(whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:])
    checkpoint.unlink()
    target = str(checkpoint.relative_to(workflow.folder))
    text = workflow("--retries", "1", "--", target, succeeds=False)
    assert re.search(r"^Error: .*data\.h5 .*snakemake", text, re.MULTILINE), text
    asked = [int(megabytes) for megabytes in re.findall(r"resources: .*?\bmem_mb=(\d+)", text)]
    assert len(asked) == 2
    assert asked[1] == 2 * asked[0]
    data.unlink()
    workflow(target)
    assert data.read_bytes() == whole
    assert checkpoint.read_bytes() == weights
    faults("bit flipped below the workflow", 1, "the stage names the file; deleted, it is made again")
