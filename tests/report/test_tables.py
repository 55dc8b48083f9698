import numpy as np
import pandas as pd
import pytest

from featurepaths.experiment.run import Run
from featurepaths.report.results import Result
from featurepaths.report.tables.detection import detection_table
from featurepaths.report.tables.networks import architecture_table, attack_table
from featurepaths.report.tables.paper_numbers import add_paper_numbers
from featurepaths.report.tables.recognition import accuracy_table, combinations_table, recognition_table
from featurepaths.report.tables.table import TABLES, render


def run(model="resnet20", training="standard", seed=0):
    return Run(model, training, seed)


def checkpoint(which):
    shapes = [[64, 16, 16]] * 2 + [[128, 8, 8]] * 3 + [[256, 4, 4]] * 4
    return {
        "build": {"architecture": which.model},
        "layers": [{"name": f"blocks.{n}", "shape": shape} for n, shape in enumerate(shapes)],
        "parameters": 123,
        "adversarial": which.training != "standard",
    }


def checkpoints(*runs):
    return {which: checkpoint(which) for which in runs}


def outcome(method="otsu", clean=90, adversarial=40, flagged=50, right=25):
    same, other = ({"first_only": 6, "second_only": 1, "p_value": p_value} for p_value in (0.125, 1e-9))
    return {"threshold_method": method, "clean_correct": clean, "adversarial_correct": adversarial, "flagged_clean": 3,
            "flagged_adversarial": flagged, "flagged_correct": right, "successful_correct": 36,
            "unsuccessful_correct": 3, "mcnemar": {"clean": same, "adversarial": other}}  # fmt: skip


def recognition(which, pooling="flatten", combinations=([2, 3],)):
    defended = {
        "layers": [2, 3, 4],
        "tie_break": "last-layer",
        "outcomes": [outcome(), outcome("fpr-5")],
        "combinations": [{**outcome(), "layers": layers, "tie_break": "last-layer"} for layers in combinations],
    }
    content = {
        "n": 100,
        "n_successful": 90,
        "n_unsuccessful": 5,
        "network": {"clean_correct": 95, "adversarial_correct": 5},
        "protocols": {"paper": defended, "held-out": defended},
    }
    return Result(which, content, pooling, "feature-paths", "apgd", "max-loss")


def detection(which, successful=None):
    measured = {
        "layers": [1, 2],
        "ranking": {"auroc": 0.8, "aupr": 0.7, "tpr_at_fpr_1": 0.1, "tpr_at_fpr_5": 0.2},
        "intervals": {name: [0.0, 1.0] for name in
                      ("auroc", "aupr", "tpr_at_fpr_1", "tpr_at_fpr_5", "balanced_accuracy.otsu")},
        "successful": successful or {"auroc": 0.75, "interval": [0.7, 0.8]},
        "at_threshold": {"otsu": {"threshold": 0.7, "flagged_clean": 20, "flagged_adversarial": 80,
                                  "flagged_successful": 72, "flagged_unsuccessful": 4}},
    }  # fmt: skip
    counts = {"n_clean": 100, "n_adversarial": 100, "n_successful": 90, "n_unsuccessful": 5}
    content = counts | {"protocols": {"paper": measured}}
    return Result(which, content, "flatten", "feature-paths", "apgd", "max-loss")


def test_architecture_table_counts_blocks_per_shape():
    table = architecture_table(checkpoints(run(), run(training="adversarial")))
    assert table[["K", "intermediate_dim", "blocks"]].to_numpy().tolist() == [
        [3, "64×16×16", 2],
        [3, "128×8×8", 3],
        [3, "256×4×4", 4],
    ]


def test_recognition_table_two_poolings_has_one_undefended_row():
    which = run()
    table = recognition_table([recognition(which), recognition(which, "mean")])
    assert (table["method"] == "undefended").sum() == 1
    assert len(table) == 1 + 2 * 2 * 2
    for column in ("model", "training", "method", "pooling", "layers", "attack", "stopping_rule", "threat", "protocol",
                   "seed", "clean_accuracy", "adversarial_accuracy", "flagged_accuracy", "n"):  # fmt: skip
        assert column in table
    row = table[table["protocol"] == "held-out"].iloc[0]
    assert row[["clean_accuracy", "adversarial_accuracy", "flagged_accuracy"]].tolist() == [0.9, 0.4, 0.5]
    assert row["flagged_accuracy_low"] < 0.5 < row["flagged_accuracy_high"]
    assert set(table["threat"]) == {"oblivious"}
    assert row[["successful_accuracy", "unsuccessful_accuracy"]].tolist() == [0.4, 0.6]
    assert row[["clean_mcnemar_p", "mcnemar_p"]].tolist() == [0.125, 1e-9]
    assert set(table["n_successful"]) == {90}
    assert set(table["n_unsuccessful"]) == {5}
    undefended = table[table["method"] == "undefended"].iloc[0]
    assert undefended[["successful_accuracy", "unsuccessful_accuracy", "mcnemar_p"]].isna().all(), "by definition"


def test_tables_two_protocols_are_adjacent_rows():
    combinations = combinations_table([recognition(run(), combinations=([2, 3], [2, 4]))])
    assert combinations[["layers", "protocol"]].to_numpy().tolist() == [
        ["2+3", "paper"], ["2+3", "held-out"], ["2+4", "paper"], ["2+4", "held-out"]
    ]  # fmt: skip
    accuracy = accuracy_table(recognition_table([recognition(run())]))
    assert accuracy["protocol"].tolist()[1:] == ["paper", "held-out"]


def test_recognition_table_defended_rows_have_protocol():
    table = recognition_table([recognition(run())])
    assert table.loc[table["method"] == "feature paths", "protocol"].isin(["paper", "held-out"]).all()


def test_detection_table_rates_match_counts():
    row = detection_table([detection(run())]).iloc[0]
    assert (row["detection_rate"], row["false_positive_rate"]) == (0.8, 0.2)
    assert row["balanced_accuracy"] == pytest.approx(0.8)
    assert (row["n_successful"], row["n_unsuccessful"]) == (90, 5)
    assert (row["successful_detection_rate"], row["unsuccessful_detection_rate"]) == (0.8, 0.8)
    assert row[["successful_auroc", "successful_auroc_low", "successful_auroc_high"]].tolist() == [0.75, 0.7, 0.8]
    assert row["unsuccessful_detection_rate_low"] < row["successful_detection_rate_low"], (
        "five images give a wider interval"
    )


def test_detection_table_no_successful_image_has_no_auroc():
    table = detection_table([detection(run(), {"auroc": None, "interval": None})])
    assert table["successful_auroc"].isna().all()
    assert table["successful_auroc"].dtype == float
    assert "nan" not in render("detection", table)["detection.md"].lower()


def attacked(records, stopping_rule="max-loss"):
    return Result(run(), records, attack="apgd", stopping_rule=stopping_rule)


def test_attack_table_rates_match_records():
    records = {
        "clean_correct": np.array([True, True, True, False]),
        "success": np.array([True, True, False, False]),
        "first_fooled_step": np.array([1, 4, -1, 0]),
        "vanished_steps": np.array([0, 2, 0, 0]),
        "n_queries": np.full(4, 21),
        "loss": np.array([1.0, 2.0, 3.0, 4.0]),
        "norm": np.full(4, 0.1),
    }
    row = attack_table([attacked(records)]).iloc[0]
    assert row["clean_accuracy"] == 0.75
    assert row["success_rate"] == pytest.approx(2 / 3)
    assert row["gradient_vanished"] == 0.25
    assert row["mean_first_fooled_step"] == 2.5
    assert (row["mean_loss"], row["mean_norm"], row["n_queries"]) == (2.5, pytest.approx(0.1), 21)
    none = {**records, "success": np.zeros(4, bool)}
    assert pd.isna(attack_table([attacked(none)]).iloc[0]["mean_first_fooled_step"])


def test_attack_table_library_attack_has_no_steps_nor_gradients():
    records = {
        "clean_correct": np.array([True, True]),
        "success": np.array([True, False]),
        "first_fooled_step": np.full(2, -1, np.int32),
        "vanished_steps": np.zeros(2, np.int32),
        "n_queries": np.full(2, 3),
        "loss": np.array([1.0, 2.0]),
        "norm": np.array([0.1, 0.3]),
    }
    row = attack_table([attacked(records, "returned")]).iloc[0]
    assert (row["success_rate"], row["mean_norm"]) == (0.5, pytest.approx(0.2))
    assert pd.isna(row["gradient_vanished"])
    assert pd.isna(row["mean_first_fooled_step"])


def tables_of(*runs):
    tables = {
        "recognition": recognition_table([recognition(one) for one in runs]),
        "combinations": combinations_table([recognition(one) for one in runs]),
        "detection": detection_table([detection(one) for one in runs]),
    }
    tables["accuracy"] = accuracy_table(tables["recognition"])
    add_paper_numbers(tables, checkpoints(*runs), ["apgd"])
    return tables


def test_paper_numbers_only_in_comparable_rows():
    tables = tables_of(run(), run(training="pgd"))
    accuracy = tables["accuracy"]
    undefended = accuracy[accuracy["method"] == "undefended"].set_index("training")
    assert undefended.loc["standard", "paper_clean_accuracy"] == 0.9203
    assert undefended.loc["pgd", "paper_adversarial_accuracy"] == 0.5294, "any name of adversarial training"
    defended = accuracy[(accuracy["method"] == "feature paths") & accuracy["paper_clean_accuracy"].notna()]
    assert defended[["training", "pooling", "protocol"]].drop_duplicates().to_numpy().tolist() == [
        ["standard", "flatten", "paper"]
    ]
    assert defended["paper_adversarial_accuracy"].tolist() == [0.4417]
    combinations = tables["combinations"].dropna(subset="paper_flagged_accuracy")
    assert combinations["paper_flagged_accuracy"].tolist() == [0.3716]
    assert set(combinations["protocol"]) == {"paper"}
    detected = tables["detection"].set_index("training")
    assert detected.loc["standard", "paper_detection_rate"] == 0.8028
    assert pd.isna(detected.loc["pgd", "paper_threshold"])


def test_accuracy_table_standard_training_comes_first():
    accuracy = tables_of(run(), run(training="adversarial"))["accuracy"]
    assert accuracy[["training", "method"]].drop_duplicates().to_numpy().tolist() == [
        ["standard", "undefended"],
        ["standard", "feature paths"],
        ["adversarial", "undefended"],
        ["adversarial", "feature paths"],
    ]
    assert set(accuracy["threshold_method"].dropna()) == {"otsu"}
    assert not [column for column in accuracy if "successful" in column or "mcnemar" in column], (
        "the table stays narrow"
    )


def test_markdown_rates_are_per_cent_and_missing_values_are_empty():
    text = render("recognition", recognition_table([recognition(run())]))["recognition.md"]
    assert text.startswith(f"# {TABLES['recognition']['title']}\n\n{TABLES['recognition']['note']}\n\n")
    assert "| 90.0 [82.6, 94.5] |" in text
    assert "| <0.0001 " in text
    assert "nan" not in text.lower()
    assert "threat `oblivious`, " in text, "values shared by all rows stand above the table"
    assert "| threat" not in text
    assert "| protocol" in text
    assert "seed `0`" in text


def test_html_is_escaped_and_needs_no_other_file():
    table = pd.DataFrame({"name": ["<b>"]})
    table.attrs["remark"] = " A & B, see `x`"
    page = render("checks", table)["checks.html"]
    assert "A &amp; B" in page
    assert "&lt;b&gt;" in page
    assert "<code>x</code>" in page
    assert "http" not in page


def test_combinations_table_no_combination_has_all_columns():
    tables = {
        "recognition": recognition_table([recognition(run())]),
        "combinations": combinations_table([recognition(run(), combinations=())]),
        "detection": detection_table([detection(run())]),
    }
    tables["accuracy"] = accuracy_table(tables["recognition"])
    columns = list(tables["combinations"])
    assert columns == list(combinations_table([recognition(run())]))
    add_paper_numbers(tables, checkpoints(run()), ["apgd"])
    assert list(tables["combinations"]) == [*columns, "paper_flagged_accuracy"]
    assert len(tables["combinations"]) == 0
    texts = render("combinations", tables["combinations"])
    assert "adversarial accuracy" in texts["combinations.md"]
    assert "adversarial accuracy" in texts["combinations.html"]


def test_render_files_have_caption_and_remark():
    table = accuracy_table(recognition_table([recognition(run())]))
    table.attrs["remark"] = " Remark 17."
    texts = render("accuracy", table)
    assert list(texts) == ["accuracy.csv", "accuracy.md", "accuracy.html"]
    for text in (texts["accuracy.md"], texts["accuracy.html"]):
        assert TABLES["accuracy"]["title"] in text
        assert " Remark 17." in text
    assert "0.9," in texts["accuracy.csv"]
    assert "Remark" not in texts["accuracy.csv"]
