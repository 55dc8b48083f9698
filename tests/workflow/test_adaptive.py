"""The adaptive evaluation in the workflow: what is attacked is what is counted, and the worst case counts."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from featurepaths.networks.checkpoint import load_checkpoint
from featurepaths.networks.forward import forward_intermediates
from featurepaths.store.hdf5 import layers_in

EPS = 0.1


@pytest.fixture(scope="module", params=[("standard", "flatten"), ("adversarial", "flatten")])
def attacked(request, tiny):
    """The folder of a run, its pooling, and the records of all attacks on its defence."""
    training, pooling = request.param
    run = tiny.results / f"small-{training}-s0"
    with h5py.File(run / f"adaptive/{pooling}.h5") as file:
        yield run, pooling, file


def stored_labels(run, pooling, stopping_rule, images, index):
    """The labels that the recognition stage counted, of these images."""
    with h5py.File(run / f"recognition/{pooling}/feature-paths.apgd.{stopping_rule}.h5") as file:
        rows = np.searchsorted(file["index"][:], index)
        return file[f"held-out/otsu/{images}"][:][rows]


def test_the_defence_that_is_attacked_answers_as_the_tables_count(attacked):
    """In float32 and in float16: only an image at the threshold, or between two classes, may come out differently."""
    run, pooling, file = attacked
    index = file["index"][:]
    assert len(index) == 64
    pairs = [(file["clean_label"][:], stored_labels(run, pooling, "max-loss", "clean", index))]
    for stopping_rule in ("first-success", "last-success", "max-loss"):
        mine = file[f"attacks/apgd.{stopping_rule}/label"][:]
        pairs.append((mine, stored_labels(run, pooling, stopping_rule, "adversarial", index)))
    for mine, counted in pairs:
        assert (mine != counted).sum() <= 1


def by_plain_code(run, pooling, images):
    """The labels of the whole method, from the artefacts of its parts, in float64."""
    network, description = load_checkpoint(run / "checkpoint.safetensors")
    names = [layer["name"] for layer in description["layers"]]
    with torch.no_grad():
        logits, outputs = forward_intermediates(network, torch.from_numpy(images), names)
    with h5py.File(run / f"centroids/{pooling}.h5") as file:
        centroids = [file[name][:].astype(float) for name in layers_in(file)]
    similarity = []
    for output, centres in zip(outputs, centroids, strict=True):
        h = (output.flatten(1) if pooling == "flatten" else output.mean(dim=(2, 3))).double().numpy()
        similarity.append(h @ centres.T / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-30))
    detector = json.loads((run / f"thresholds/{pooling}/feature-paths.held-out.json").read_text())
    voters = json.loads((run / f"selection/{pooling}/held-out.json").read_text())["layers"]
    score = np.mean([similarity[layer - 1] for layer in detector["layers"]], axis=0).max(axis=1)
    answers = logits.argmax(dim=1).numpy()
    for row in np.flatnonzero(score < detector["thresholds"]["otsu"]):
        votes = [int(similarity[layer - 1][row].argmax()) for layer in voters]
        most = max(votes.count(vote) for vote in votes)
        answers[row] = [vote for vote in votes if votes.count(vote) == most][-1]  # the last layer wins a tie
    return answers, score


def test_the_worst_examples_lie_in_the_ball_and_fool_the_method_as_plain_code_has_it(attacked, tiny):
    run, pooling, file = attacked
    worst, index, labels = file["worst/adversarial"][:], file["index"][:], file["labels"][:]
    with h5py.File(tiny.results / "data.h5") as data:
        clean = data["images"][:][index].transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert np.abs(worst - clean).max() <= EPS + 1e-6
    assert 0 <= worst.min() <= worst.max() <= 1
    answers, _ = by_plain_code(run, pooling, worst)
    survives = file["defended/adaptive"][:]
    assert ((answers == labels) != survives).sum() <= 1


def test_the_records_of_the_worst_examples_are_those_of_plain_code(attacked):
    run, pooling, file = attacked
    worst, labels = file["worst"], file["labels"][:]
    _, score = by_plain_code(run, pooling, worst["adversarial"][:])
    np.testing.assert_allclose(worst["score"][:], score, atol=1e-4)
    detector = json.loads((run / f"thresholds/{pooling}/feature-paths.held-out.json").read_text())
    similarity = worst["similarity"][:]
    best = similarity[:, [layer - 1 for layer in detector["layers"]]].mean(axis=1).max(axis=1)
    np.testing.assert_allclose(best, score, atol=1e-4)
    flagged = worst["score"][:] < detector["thresholds"]["otsu"]
    answers = np.where(flagged, worst["vote"][:], worst["network_prediction"][:])
    np.testing.assert_array_equal(answers == labels, file["defended/adaptive"][:])


def test_the_stored_votes_answer_for_flagged_images(attacked):
    run, pooling, _ = attacked
    detector = json.loads((run / f"thresholds/{pooling}/feature-paths.held-out.json").read_text())
    name = f"{pooling}/feature-paths.apgd.max-loss.h5"
    with h5py.File(run / "detection" / name) as detection, h5py.File(run / "recognition" / name) as file:
        for images in ("clean", "adversarial"):
            flagged = detection[f"held-out/{images}_score"][:] < detector["thresholds"]["otsu"]
            answers = np.where(flagged, file[f"held-out/{images}_vote"][:], file[f"network_{images}"][:])
            np.testing.assert_array_equal(answers, file[f"held-out/otsu/{images}"][:])


def test_an_image_survives_only_if_it_does_every_attack(attacked):
    _, _, file = attacked
    labels, survives = file["labels"][:], {}
    for side, answer in (("undefended", "network_prediction"), ("defended", "label")):
        survives[side] = file[f"{side}/clean"][:].copy()
        for attack in file["attacks"].values():
            survives[side] &= ~attack["attacked"][:] | (attack[answer][:] == labels)
        assert not (file[f"{side}/adaptive"][:] & ~survives[side]).any()
    # what none of these won was won by the attacks on detectors alone
    of_detectors = [each["network_prediction"][:] != labels for each in file["detectors"].values()]
    won_by_others = survives["undefended"] & ~file["undefended/adaptive"][:]
    assert not (won_by_others & ~np.any(of_detectors, axis=0)).any()


def test_the_counts_are_those_of_the_records(attacked):
    run, pooling, file = attacked
    content = json.loads((run / f"adaptive/{pooling}.json").read_text())
    labels = file["labels"][:]
    assert content["n"] == len(labels)
    for side in ("undefended", "defended"):
        assert content[side]["clean_correct"] == file[f"{side}/clean"][:].sum()
        assert content[side]["adaptive_correct"] == file[f"{side}/adaptive"][:].sum()
    kept = {side: file[f"{side}/adaptive"][:] for side in ("undefended", "defended")}
    assert content["mcnemar"]["first_only"] == (kept["defended"] & ~kept["undefended"]).sum()
    assert content["mcnemar"]["second_only"] == (kept["undefended"] & ~kept["defended"]).sum()
    for at in content["detection"]:
        evaded = (file["evading_score"][:] >= at["threshold"]).sum()
        assert at["adaptive_evaded"] == evaded
        assert at["adaptive_evaded"] >= max(at["oblivious_evaded"].values())
    names = {attack["name"] for attack in content["attacks"]}
    objectives = ("misclassify", "evade", "misvote", "match-features", "selective", "orthogonal")
    assert names == {
        *(f"apgd.{stopping_rule}" for stopping_rule in ("first-success", "last-success", "max-loss")),
        *(f"{objective}.ce" for objective in objectives),
        *(f"{objective}.ce.targeted" for objective in ("misclassify", "evade", "misvote")),
        *(f"{objective}.ce.evasion" for objective in ("evade", "match-features", "selective", "orthogonal")),
    }
    assert {each["detector"] for each in content["detectors"]} == {
        "feature-paths",
        "confidence",
        "path-density",
    }


def test_eps_0_is_the_clean_accuracy_and_a_great_eps_leaves_nothing(attacked):
    run, pooling, _ = attacked
    content = json.loads((run / f"controls/{pooling}.json").read_text())
    clean = next(each for each in content["false_positives"] if each["corruption"] == "clean")
    assert content["eps"][0]["eps"] == 0
    assert content["eps"][0]["defended_correct"] == clean["defended_correct"]
    assert content["eps"][0]["undefended_correct"] == clean["network_correct"]
    passed = {check["check"]: check["passed"] for check in content["checks"]}
    assert passed["accuracy at eps 0 equals the clean accuracy"]
    assert content["transfer"]["source"].startswith("small-")


def test_the_fair_comparison_labels_every_number(tiny):
    table = pd.read_csv(tiny.results / "tables/comparison.csv")
    assert set(table["threat"]) == {"oblivious", "adaptive"}
    assert (table.query("method == 'undefended'")["threat"] == "adaptive").all()
    for (training, pooling), rows in table.query("method == 'feature paths'").groupby(["training", "pooling"]):
        content = json.loads((tiny.results / f"small-{training}-s0/adaptive/{pooling}.json").read_text())
        adaptive = rows.query("threat == 'adaptive'")["adversarial_accuracy"].item()
        assert adaptive == pytest.approx(content["defended"]["adaptive_correct"] / 64)
        assert adaptive <= rows["adversarial_accuracy"].min()
    verdict = (tiny.results / "tables/verdict.md").read_text()
    for training in ("standard", "adversarial"):
        content = json.loads((tiny.results / f"small-{training}-s0/adaptive/flatten.json").read_text())
        assert f"{100 * content['defended']['adaptive_correct'] / 64:.1f} %" in verdict
