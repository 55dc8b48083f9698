"""`FeaturePathDefense.evaluate` and the workflow's stages find the same on the same images, image by image."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from featurepaths import FeaturePathDefense
from featurepaths.detectors.registry import read_detectors
from featurepaths.networks.checkpoint import load_checkpoint
from tests.experiments import TINY

ADAPTIVE = TINY["adaptive"]
RULES = TINY["attacks"]["apgd"]["stopping_rule"]


@pytest.fixture(scope="module", params=["standard", "adversarial"])
def evaluated(request, tiny, tmp_path_factory):
    """The folder of a run, and the evaluation of its defence, saved and loaded, on the images that its stages took."""
    run = tiny.results / f"small-{request.param}-s0"
    path = tmp_path_factory.mktemp("defense") / "defense.safetensors"
    FeaturePathDefense.from_run(run).save(path)
    defense = FeaturePathDefense.load(path, load_checkpoint(run / "checkpoint.safetensors")[0])
    with h5py.File(tiny.results / "data.h5") as data, h5py.File(run / "adaptive/flatten.h5") as stage:
        rows = stage["index"][:]
        pixels = torch.from_numpy(data["images"][:][rows]).permute(0, 3, 1, 2).float() / 255
        batches = list(zip(pixels.split(40), torch.from_numpy(data["labels"][:][rows]).split(40), strict=True))
    result = defense.evaluate(
        batches,
        eps=TINY["attacks"]["apgd"]["eps"],
        iterations=ADAPTIVE["iterations"],
        oblivious_iterations=TINY["attacks"]["apgd"]["iterations"],
        stopping_rule=RULES,
        losses=ADAPTIVE["losses"],
        n_targets=ADAPTIVE["n_targets"],
        indices=rows,
        detectors=read_detectors(run / "detectors/flatten.h5"),
        progress=False,
    )
    return run, result


def test_evaluate_images_of_a_run_same_as_its_adaptive_stage(evaluated):
    run, result = evaluated
    names = []
    with h5py.File(run / "adaptive/flatten.h5") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert set(names) == {*result.records, "worst/adversarial"}
        for name in result.records:
            np.testing.assert_array_equal(result.records[name], file[name][:], err_msg=name)
        np.testing.assert_array_equal(result.adversarial["worst"], file["worst/adversarial"][:])


def test_evaluate_images_of_a_run_same_as_its_attack_and_recognition_stages(evaluated):
    run, result = evaluated
    for rule in RULES:
        with (
            h5py.File(run / "attacks/test.apgd.h5") as attack,
            h5py.File(run / f"recognition/flatten/feature-paths.apgd.{rule}.h5") as recognition,
        ):
            rows = np.searchsorted(attack["index"][:], result.records["index"])
            examples = attack[f"{rule}/adversarial"][:][rows]
            network, clean, adversarial = (
                recognition[name][:][rows]
                for name in ("network_adversarial", "held-out/otsu/clean", "held-out/otsu/adversarial")
            )
        np.testing.assert_array_equal(result.adversarial[f"apgd.{rule}"], examples)
        np.testing.assert_array_equal(result.records[f"attacks/apgd.{rule}/network_prediction"], network)
        # the stage reads features that are rounded to float16: an image at the threshold may come out differently
        assert (result.records["clean_label"] != clean).sum() <= 1
        assert (result.records[f"attacks/apgd.{rule}/label"] != adversarial).sum() <= 1


def test_evaluate_counts_of_a_run_same_as_its_tables_and_verdict(evaluated, tiny):
    run, result = evaluated
    content = json.loads((run / "adaptive/flatten.json").read_text())
    for key in content.keys() & result.counts.keys() - {"threshold_method", "detection", "detectors"}:
        assert result.counts[key] == content[key], key
    shown = result.table.set_index("attack")
    adaptive, comparison = (pd.read_csv(tiny.results / f"tables/{name}.csv") for name in ("adaptive", "comparison"))
    adaptive, comparison = (table[table["training"] == run.name.split("-")[1]] for table in (adaptive, comparison))
    adaptive = adaptive.set_index("attack")
    for column, name in (("adversarial_accuracy", "defended_accuracy"), ("undefended_accuracy",) * 2):
        for end in ("", "_low", "_high"):
            expected = adaptive[column + end]
            np.testing.assert_allclose(shown.loc[expected.index, name + end], expected)
    for method, column in (("feature paths", "defended_accuracy"), ("undefended", "undefended_accuracy")):
        clean = comparison[comparison["method"] == method]["clean_accuracy"]
        assert shown.loc["none", column] == pytest.approx(clean.iloc[0])
    percent = f"{100 * content['defended']['adaptive_correct'] / content['n']:.1f} %"
    assert percent in result.verdict
    assert percent in (tiny.results / "tables/verdict.md").read_text()
