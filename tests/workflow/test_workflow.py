"""The whole workflow, through Snakemake itself."""

import copy
import json
import re
import shutil
from math import comb
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from featurepaths.data.datasets import load_digits
from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.networks.forward import forward_intermediates
from featurepaths.store.provenance import read_origin
from tests.experiments import ROOT, TINY
from tests.processes import Workflow, edit_hdf5, jobs

TABLES = ["architecture", "accuracy", "attacks", "combinations", "detection", "recognition", "summary", "collapse"]
COMPARED = [
    "detectors",
    "calibration_matrix",
    "comparison",
    "adaptive",
    "evasion",
    "adaptive_summary",
    "controls",
    "checks",
]
STOPPING_RULES = ["first-success", "last-success", "max-loss"]


def test_everything_is_made(tiny):
    for table in [*TABLES, *COMPARED]:
        for kind in ("csv", "md", "html"):
            assert (tiny.results / f"tables/{table}.{kind}").stat().st_size > 0
    figures = {path.name for path in (tiny.results / "figures").iterdir()}
    for kind in ("png", "svg"):
        assert {f"verdict.flatten.{kind}", f"curves.flatten.{kind}"} <= figures
        assert {f"training.{kind}", f"collapse.flatten.{kind}", f"collapse.mean.{kind}"} <= figures
        for figure in ("examples", "confusion", "paths", "histogram", "layers", "roc"):
            for training in ("standard", "adversarial"):
                for pooling in ("flatten", "mean"):
                    assert f"matrix.small-{training}-s0.{pooling}.{kind}" in figures
                    assert f"detectors.small-{training}-s0.{pooling}.{kind}" in figures
                    assert f"{figure}.small-{training}-s0.{pooling}.apgd.{kind}" in figures
    recorded = json.loads((tiny.results / "config.json").read_text())
    assert recorded["configuration"]["attacks"]["apgd"]["eps"] == "1/10"
    assert recorded["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_a_second_run_has_nothing_to_do(tiny):
    assert "Nothing to be done" in tiny()


def test_a_report_is_made(tiny, tmp_path):
    tiny("--report", str(tmp_path / "report.html"), "--report-stylesheet", str(ROOT / "captions/report.css"))
    report = (tmp_path / "report.html").read_text()
    for expected in ("Tables 2 and 4: clean and adversarial accuracy", "Figure: mean feature paths (Figure 1)",
                     "Configuration and versions",
                     "1. The verdict", "Fair comparison: each method"):  # fmt: skip
        assert expected in report
    first_page = json.loads(re.search(r"var workflow_desc = (.*);\n", report)[1])
    assert "System Message" not in first_page, "of docutils, about what it cannot read"
    answer = (tiny.results / "tables/answer.html").read_text()
    parts = [part.strip() for part in answer.split("<!-- figure -->")]
    verdict, figure, table = (first_page.index(text) for text in ("<li><strong>small-", "<svg", "<td>small-"))
    assert verdict < figure < table < first_page.index("How to read")
    for line in parts[0].splitlines() + parts[1].splitlines():
        assert line.strip() in first_page
    assert "flex-direction: column" in report, "the style sheet"


@pytest.fixture(scope="module", params=["standard", "adversarial"])
def raw(request, tiny):
    """Contents of a run's artefacts, and the run's name."""
    name = f"small-{request.param}-s0"
    run = tiny.results / name
    network, _ = load_checkpoint(run / "checkpoint.safetensors")
    with h5py.File(tiny.results / "data.h5") as data, h5py.File(run / "attacks/test.apgd.h5") as attack:
        split, images, labels = data["split"][:], data["images"][:], data["labels"][:]
        artefacts = {
            "train": (images[split == b"train"], labels[split == b"train"]),
            "test": (images[split == b"test"], labels[split == b"test"]),
            "attacked": {stopping_rule: attack[stopping_rule]["adversarial"][:] for stopping_rule in STOPPING_RULES},
            "records": {key: attack[key][:] for key in ("success", "clean_correct", "labels", "first_fooled_step")},
            "norms": {stopping_rule: attack[stopping_rule]["norm"][:] for stopping_rule in STOPPING_RULES},
        }
    return tiny, name, network, artefacts


def layer_features(network, pixels, pooling):
    if pixels.dtype == np.uint8:
        pixels = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255
    with torch.no_grad():
        logits, outputs = forward_intermediates(network, torch.from_numpy(pixels.copy()), network.layer_names)
    arrays = [output.double().numpy() for output in outputs]
    pooled = [a.reshape(len(a), -1) if pooling == "flatten" else a.mean(axis=(2, 3)) for a in arrays]
    return logits.numpy(), pooled


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)


def brute_force_otsu(scores):
    values = np.unique(scores)
    cuts = (values[:-1] + values[1:]) / 2

    def separation(split_rows):
        below, above = scores[scores < split_rows], scores[scores >= split_rows]
        return len(below) * len(above) * (below.mean() - above.mean()) ** 2

    return max(cuts, key=separation)


def assert_mcnemar(row, run, labels):
    """The p-values of a row of the recognition table, from the stored labels, by the binomial coefficients."""
    with h5py.File(run / "recognition" / row["pooling"] / f"feature-paths.apgd.{row['stopping_rule']}.h5") as file:
        for images, column in (("clean", "clean_mcnemar_p"), ("adversarial", "mcnemar_p")):
            network = file[f"network_{images}"][:] == labels
            defended = file[f"{row['protocol']}/{row['threshold_method']}/{images}"][:] == labels
            only = int((network & ~defended).sum()), int((defended & ~network).sum())
            tail = sum(comb(sum(only), k) for k in range(min(only) + 1)) / 2 ** sum(only)
            assert row[column] == pytest.approx(min(1, 2 * tail), rel=1e-9)


@pytest.mark.parametrize("pooling", ["flatten", "mean"])
def test_tables_follow_from_the_weights_and_images_by_plain_code(raw, pooling):
    """The paper's method once more, in float64 and without any of the library but the network."""
    tiny, name, network, artefacts = raw
    training = name.split("-")[1]
    _, train_features = layer_features(network, artefacts["train"][0], pooling)
    train_labels, labels = artefacts["train"][1], artefacts["test"][1]
    centres = [unit(np.stack([f[train_labels == c].mean(axis=0) for c in range(10)])) for f in train_features]
    clean_logits, clean_features = layer_features(network, artefacts["test"][0], pooling)
    clean = np.stack([unit(f) @ c.T for f, c in zip(clean_features, centres, strict=True)], axis=1)

    recognition = pd.read_csv(tiny.results / "tables/recognition.csv")
    detection = pd.read_csv(tiny.results / "tables/detection.csv")
    for stopping_rule in STOPPING_RULES:
        logits, features = layer_features(network, artefacts["attacked"][stopping_rule], pooling)
        attacked = np.stack([unit(f) @ c.T for f, c in zip(features, centres, strict=True)], axis=1)

        selection = {"training": training, "pooling": pooling, "stopping_rule": stopping_rule, "protocol": "paper"}
        row = recognition.query(" and ".join(f"{key} == '{value}'" for key, value in selection.items())).iloc[0]
        detected = detection.query(" and ".join(f"{key} == '{value}'" for key, value in selection.items())).iloc[0]
        layers = [int(layer) - 1 for layer in detected["layers"].split("+")]
        clean_score, score = clean[:, layers].mean(axis=1).max(axis=1), attacked[:, layers].mean(axis=1).max(axis=1)
        threshold = brute_force_otsu(np.concatenate([clean_score, score]))
        assert detected["threshold"] == pytest.approx(threshold, abs=1e-3)

        # float16 features may move an image or two over the threshold, or to another centroid
        slack = 2.5 / len(labels)
        by_layer = (attacked.argmax(axis=2) == labels[:, None]).mean(axis=0)
        voters = [int(layer) - 1 for layer in row["layers"].split("+")]
        assert sorted(by_layer[voters]) == pytest.approx(sorted(by_layer)[-3:], abs=slack)
        answers = {}
        for which, similarity, values, network_says in (
            ("clean", clean, clean_score, clean_logits.argmax(axis=1)),
            ("adversarial", attacked, score, logits.argmax(axis=1)),
        ):
            votes = similarity[:, voters].argmax(axis=2)
            majority = [v[2] if len(set(v)) == 3 else max(set(v), key=list(v).count) for v in votes.tolist()]
            answers[which] = np.where(values < threshold, majority, network_says)
        assert row["clean_accuracy"] == pytest.approx((answers["clean"] == labels).mean(), abs=slack)
        assert row["adversarial_accuracy"] == pytest.approx((answers["adversarial"] == labels).mean(), abs=slack)
        assert detected["detection_rate"] == pytest.approx((score < threshold).mean(), abs=slack)
        assert detected["false_positive_rate"] == pytest.approx((clean_score < threshold).mean(), abs=slack)
        pairs = (score[:, None] < clean_score[None]).mean()
        assert detected["auroc"] == pytest.approx(pairs, abs=2e-3)

        successful = (clean_logits.argmax(axis=1) == labels) & (logits.argmax(axis=1) != labels)
        unsuccessful = (clean_logits.argmax(axis=1) == labels) & (logits.argmax(axis=1) == labels)
        for one in (row, detected):
            assert (one["n_successful"], one["n_unsuccessful"]) == (successful.sum(), unsuccessful.sum())
        for which, group in (("successful", successful), ("unsuccessful", unsuccessful)):
            if not group.any():
                assert np.isnan(row[f"{which}_accuracy"])
                continue
            few = 2.5 / group.sum()
            right = (answers["adversarial"] == labels)[group].mean()
            assert row[f"{which}_accuracy"] == pytest.approx(right, abs=few)
            assert detected[f"{which}_detection_rate"] == pytest.approx((score < threshold)[group].mean(), abs=few)
        pairs = (score[successful][:, None] < clean_score[successful][None]).mean()
        assert detected["successful_auroc"] == pytest.approx(pairs, abs=5e-3)
        assert_mcnemar(row, tiny.results / name, labels)

        undefended = recognition.query(
            f"method == 'undefended' and training == '{training}' and stopping_rule == '{stopping_rule}'"
        )
        assert len(undefended) == 1
        assert undefended["clean_accuracy"].item() == pytest.approx((clean_logits.argmax(axis=1) == labels).mean())
        assert undefended["adversarial_accuracy"].item() == pytest.approx((logits.argmax(axis=1) == labels).mean())


def test_the_summary_of_one_seed_is_the_tables_own_numbers(tiny):
    tables = {
        name: pd.read_csv(tiny.results / f"tables/{name}.csv") for name in ("summary", "recognition", "detection")
    }
    missing = tables["summary"]["mean"].isna()
    assert set(tables["summary"].loc[missing, "metric"]) <= {"flagged_accuracy"}, "where no image was flagged"
    summary = tables["summary"][~missing]
    assert set(summary["n_training_seeds"]) | set(summary["n_attack_seeds"]) == {1}
    assert set(summary["interval"]) == {"images"}
    for metric, of_metric in summary.groupby("metric"):
        table = tables["recognition" if metric.endswith("_accuracy") and "balanced" not in metric else "detection"]
        shared = [key for key in ("model", "training", "method", "detector", "pooling", "attack", "stopping_rule",
                                  "protocol", "threshold_method")
                  if key in table and of_metric[key].notna().any()]  # fmt: skip
        both = of_metric.merge(table.drop_duplicates(shared), on=shared)
        assert len(both) == len(of_metric)
        for column, own in (("mean", metric), ("mean_low", f"{metric}_low"), ("mean_high", f"{metric}_high")):
            np.testing.assert_allclose(both[column], both[own])


def test_float16_moves_similarities_by_less_than_a_thousandth(raw):
    tiny, name, network, artefacts = raw
    for pooling in ("flatten", "mean"):
        _, train_features = layer_features(network, artefacts["train"][0], pooling)
        labels = artefacts["train"][1]
        _, features = layer_features(network, artefacts["test"][0], pooling)
        with h5py.File(tiny.results / name / "paths" / pooling / "test.h5") as file:
            stored = file["similarity"][:]
        for layer, (one, trained) in enumerate(zip(features, train_features, strict=True)):
            centres = unit(np.stack([trained[labels == c].mean(axis=0) for c in range(10)]))
            assert np.abs(unit(one) @ centres.T - stored[:, layer]).max() < 1e-3


def test_attack_records_agree_with_the_stored_images(raw):
    _, _, network, artefacts = raw
    records, labels = artefacts["records"], artefacts["test"][1]
    assert (records["labels"] == labels).all()
    clean = artefacts["test"][0].transpose(0, 3, 1, 2).astype(np.float32) / 255
    clean_logits, _ = layer_features(network, artefacts["test"][0], "mean")
    correct = clean_logits.argmax(axis=1) == labels
    assert (records["clean_correct"] == correct).all()
    for stopping_rule, images in artefacts["attacked"].items():
        logits, _ = layer_features(network, images, "mean")
        wrong = logits.argmax(axis=1) != labels
        assert (records["success"] == (correct & wrong)).all(), stopping_rule
        assert ((records["first_fooled_step"] >= 0) == wrong).all(), stopping_rule
        delta = np.abs(images - clean).max(axis=(1, 2, 3))
        assert (delta <= 0.1 + 1e-6).all()
        np.testing.assert_allclose(artefacts["norms"][stopping_rule], delta, atol=1e-7)


def contents(folder, pattern):
    """Contents of JSON artefacts, without their origins."""
    documents = {}
    for path in sorted(folder.glob(pattern)):
        document = json.loads(path.read_text())
        del document["origin"], document["checksum"]
        documents[str(path.relative_to(folder))] = document
    assert documents, pattern
    return documents


def test_no_test_image_influences_the_held_out_defence(tiny, tmp_path):
    """Replace every test image by another image, run everything that reads test images again, and compare."""
    shutil.copytree(tiny.folder, tmp_path / "copy")
    changed = Workflow(tmp_path / "copy", TINY)
    data = changed.results / "data.h5"
    with edit_hdf5(data) as file:
        rows = np.flatnonzero(file["split"][:] == b"test")
        images = file["images"][:]
        images[rows] = 255 - np.roll(images[rows], 3, axis=1)
        file["images"][...] = images
    for path in changed.results.rglob("*"):  # made again, because the digests say that nothing changed
        if path.is_file() and path.name not in ("data.h5", "checkpoint.safetensors", "training.csv"):
            path.unlink()
    paths = [path for kind in ("thresholds", "selection", "detectors") for path in tiny.results.glob(f"*/{kind}/*/*")]
    paths += tiny.results.glob("*/detectors/*.h5")
    changed(*(str(path.relative_to(tiny.folder)) for path in paths))

    for kind in ("thresholds/*/feature-paths.held-out.json", "selection/*/held-out.json"):
        assert contents(changed.results, f"*/{kind}") == contents(tiny.results, f"*/{kind}")
    for path in tiny.results.glob("*/detectors/*.h5"):
        with h5py.File(path) as before, h5py.File(changed.results / path.relative_to(tiny.results)) as after:
            for name in before:
                assert before[name].attrs["thresholds"].tolist() == after[name].attrs["thresholds"].tolist()
    # and the comparison would notice: the paper's protocol, which does look at test images, comes out differently
    for kind in ("thresholds/*/feature-paths.paper.*.json", "selection/*/paper.*.json"):
        assert contents(changed.results, f"*/{kind}") != contents(tiny.results, f"*/{kind}")


def test_the_held_out_defence_has_no_ancestor_made_of_test_images(tiny):
    paths = [*tiny.results.glob("*/thresholds/*/*held-out.json"), *tiny.results.glob("*/selection/*/held-out.json")]
    paths += tiny.results.glob("*/detectors/*.h5")
    assert len(paths) == 12
    for path in paths:
        ancestors = read_origin(path).ancestors
        assert not [name for name in ancestors if "test" in name]
        assert [name for name in ancestors if "calibration" in name]


def test_the_same_seed_gives_the_same_tables_whatever_the_cores_and_whether_dumps_are_kept(tmp_path):
    config = copy.deepcopy(TINY)
    del config["training"]["adversarial"]
    config["attacks"]["apgd"]["stopping_rule"] = ["max-loss"]
    results = []
    for cores, storage in ((1, "store"), (3, "temporary")):
        config["features"] = {"poolings": ["mean"], "storage": storage}
        config["adaptive"]["poolings"] = None
        workflow = Workflow(tmp_path / str(cores), config)
        workflow(cores=cores)
        assert bool(list(workflow.results.glob("*/features/*/*.h5"))) == (storage == "store")
        results.append({path.name: path.read_bytes() for path in (workflow.results / "tables").glob("*.csv")})
    assert len(results[0]) == len(TABLES) + len(COMPARED)
    assert results[0] == results[1]
    assert "Nothing to be done" in workflow(), "dumps that were temporary are not missed"


def test_where_a_data_set_lies_reruns_nothing(tmp_path):
    """Neither `root` nor `download` is among the params or settings of any job."""
    from featurepaths.experiment.config.messages import read_experiment
    from featurepaths.experiment.plan import Plan

    digests = []
    for data in ({"root": "here"}, {"root": "there", "download": True}):
        config = copy.deepcopy(TINY) | {"data": {"source": "cifar10", **data}}
        digests.append(Plan(read_experiment(config)).tables().digest)
    assert digests[0] == digests[1]


def test_problems_in_the_configuration_are_told_before_any_job(tmp_path):
    config = copy.deepcopy(TINY)
    config["attacks"]["apgd"]["iteratons"] = 3
    workflow = Workflow(tmp_path, config)
    output = workflow(succeeds=False)
    assert "attacks.apgd.iteratons: unknown key; did you mean 'iterations'?" in output
    assert "Traceback" not in output
    assert not workflow.results.exists()


def test_lists_on_the_command_line_are_explained(tmp_path):
    output = Workflow(tmp_path, TINY)("--config", "seeds=[0,1]", succeeds=False)
    assert "seeds.0: input should be a valid integer, not the text '0'" in output
    assert "--config passes the values in lists and maps as text: put it into a file for --configfile" in output
    assert "Traceback" not in output


def test_a_configuration_file_replaces_the_default_one(tiny):
    recorded = json.loads((tiny.results / "config.json").read_text())["configuration"]
    assert list(recorded["models"]) == ["small"]


def test_nothing_is_written_outside_the_results(tiny):
    assert {path.name for path in tiny.folder.iterdir()} == {"config.yaml", "results", ".snakemake"}
    assert not list(Path(tiny.results).rglob("*.partial"))
    assert not [path for path in tiny.results.rglob(".*") if path.is_file() and path.name != ".snakemake_timestamp"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of digits as PNG files, and an experiment on it with an attack of every kind of option."""
    folder = tmp_path_factory.mktemp("pictures")
    parts, names = load_digits(32, 0.3, 0)
    for part, (images, labels) in parts.items():
        for number, (image, label) in enumerate(zip(images[:300], labels[:300], strict=True)):
            path = folder / "images" / part / names[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    search_model = {"eps": "8/255", "iterations": 5, "precision": "bfloat16", "stopping_rule": STOPPING_RULES}
    config = copy.deepcopy(TINY) | {
        "data": {"source": "folder", "root": "images", "title": "digits in files", "reference_dataset": "cifar10"},
        "features": {"poolings": ["mean"], "storage": "temporary"},
        "attacks": {
            "apgd": search_model,
            "some": {"eps": "8/255", "iterations": 3, "max_images": 50, "stopping_rule": ["max-loss"]},
            "normalized": {**search_model, "eps_space": "normalized", "max_images": 50,
                           "stopping_rule": ["last-success"]},
        },
        "adaptive": {"attack": "normalized", "losses": ["ce"], "n_targets": 0, "iterations": 3, "precision": "bfloat16",
                     "skip_defeated": True, "controls": None},
    }  # fmt: skip
    del config["training"]["adversarial"]
    config["training"]["standard"]["precision"] = "bfloat16"
    workflow = Workflow(folder, config)
    workflow()
    return workflow


def test_a_folder_of_images_is_a_data_set(pictures):
    with h5py.File(pictures.results / "data.h5") as file:
        assert file.attrs["provenance"] == "digits in files"
        assert np.bincount(np.unique(file["split"][:], return_inverse=True)[1]).tolist() == [30, 300, 270]
    accuracy = pd.read_csv(pictures.results / "tables/accuracy.csv")
    shown = accuracy.query("method == 'undefended' and attack == 'apgd'")["paper_clean_accuracy"]
    assert (shown == 0.9224).all(), "the paper's number for a standard ResNet-18"


def test_an_attack_on_some_images_is_compared_with_the_same_clean_ones(pictures):
    run = pictures.results / "small-standard-s0"
    with h5py.File(run / "attacks/test.some.h5") as attack, h5py.File(run / "paths/mean/test.h5") as clean:
        index = attack["index"][:]
        assert len(index) == 50
        assert (np.diff(index) == 6).all(), "50 of 300, evenly spaced"
        rows = np.searchsorted(clean["index"][:], index)
        network = clean["logits"][:][rows].argmax(axis=1)
        correct = (network == attack["labels"][:]).mean()
    recognition = pd.read_csv(pictures.results / "tables/recognition.csv")
    rows = recognition.query("method == 'undefended'").set_index("attack")
    assert rows.loc["some", "n"] == 50
    assert set(rows.loc["apgd", "n"]) == {300}
    assert rows.loc["some", "clean_accuracy"] == pytest.approx(correct)
    detection = pd.read_csv(pictures.results / "tables/detection.csv").set_index("attack")
    assert set(detection.loc["some", "n_clean"]) == set(detection.loc["some", "n_adversarial"]) == {50}


def test_an_attack_in_bfloat16_is_judged_by_the_network_in_float32(pictures):
    run = pictures.results / "small-standard-s0"
    with h5py.File(run / "attacks/test.apgd.h5") as attack:
        assert attack.attrs["precision"] == "bfloat16"
        for stopping_rule in STOPPING_RULES:
            with h5py.File(run / f"paths/mean/test.apgd.{stopping_rule}.h5") as paths:
                wrong = paths["logits"][:].argmax(axis=1) != attack["labels"][:]
            assert (attack["success"][:] == (wrong & attack["clean_correct"][:])).all()


def test_normalised_units_are_those_after_the_networks_normalisation(pictures):
    run = pictures.results / "small-standard-s0"
    _, description = load_checkpoint(run / "checkpoint.safetensors")
    std = np.array(description["build"]["std"])
    with h5py.File(run / "attacks/test.normalized.h5") as attack, h5py.File(pictures.results / "data.h5") as data:
        clean = data["images"][:][attack["index"][:]].transpose(0, 3, 1, 2).astype(np.float32) / 255
        delta = np.abs(attack["last-success/adversarial"][:] - clean).max(axis=(0, 2, 3))
    np.testing.assert_allclose(delta, 8 / 255 * std, rtol=1e-4)


def test_how_a_network_was_computed_is_recorded(pictures):
    _, description = load_checkpoint(pictures.results / "small-standard-s0/checkpoint.safetensors")
    assert description["precision"] == "bfloat16"
    assert description["memory_format"] == "contiguous_format"


def test_changed_images_make_everything_anew_and_where_they_lie_nothing(pictures, tmp_path):
    copied = tmp_path / "elsewhere"
    shutil.copytree(pictures.folder / "images", copied)
    moved = f"data={{root: {copied}}}"
    assert jobs(pictures("--dry-run", "--config", moved)) == {"configuration": 1}, "the record of what was configured"
    (copied / "train/0/999.png").write_bytes(next((copied / "train/0").glob("*.png")).read_bytes())
    assert jobs(pictures("--dry-run", "--config", moved))["data"] == 1


def test_a_folder_that_is_not_there_is_told_before_any_job(pictures):
    output = pictures("--dry-run", "--config", "data={root: nowhere}", succeeds=False)
    assert "There is no folder nowhere/train" in output
    assert "Traceback" not in output


def test_adaptive_attacks_in_bfloat16_and_normalised_units_stay_in_their_ball(pictures):
    run = pictures.results / "small-standard-s0"
    _, description = load_checkpoint(run / "checkpoint.safetensors")
    radius = 8 / 255 * np.array(description["build"]["std"]).reshape(3, 1, 1)
    with h5py.File(run / "adaptive/mean.h5") as file, h5py.File(pictures.results / "data.h5") as data:
        assert file.attrs["precision"] == "bfloat16"
        clean = data["images"][:][file["index"][:]].transpose(0, 3, 1, 2).astype(np.float32) / 255
        delta = np.abs(file["worst/adversarial"][:] - clean)
        assert len(delta) == 50
        assert (delta <= radius + 1e-6).all()
        network, _ = load_checkpoint(run / "checkpoint.safetensors")
        with torch.no_grad():
            labels = network(torch.from_numpy(file["worst/adversarial"][:])).argmax(dim=1).numpy()
        flagged_or_right = (file["labels"][:] == labels)[file["undefended/adaptive"][:]]
        assert flagged_or_right.all(), "the network is right on every example of an image that it never got wrong"
    verdict = (pictures.results / "tables/verdict.md").read_text()
    assert "The controls for masked gradients were not run." in verdict
    assert not (pictures.results / "tables/checks.csv").exists()
