import numpy as np
import pandas as pd
import pytest

from featurepaths.report.results import Result, counted_noun
from featurepaths.report.tables.adaptive import (
    WORST_CASE,
    adaptive_table,
    checks_table,
    comparison_table,
    controls_table,
    evaluation_table,
    evasion_table,
)
from featurepaths.report.tables.detection import (
    ON_ITSELF,
    calibration_matrix_table,
    detection_table,
    detector_table,
    newcombe_balanced_accuracy,
)
from featurepaths.report.tables.summary import summary_table
from featurepaths.report.tables.table import TABLES, render
from featurepaths.statistics.metrics import wilson
from tests.report import contents

ADAPTIVE = [contents.result(contents.adaptive(vanished=0.25))]


def with_interval(row, name):
    return tuple(row[f"{name}{end}"] for end in ("", "_low", "_high"))


def test_adaptive_table_attacks_count_attacked_images_and_worst_case_all():
    table = adaptive_table(ADAPTIVE)
    assert table["attack"].tolist() == ["apgd.first-success", "evade.ce", WORST_CASE["attack"]]
    assert table["threat"].tolist() == ["oblivious", "adaptive", "adaptive"]
    assert table["n_attacked"].tolist() == [200, 100, 200]
    assert with_interval(table.iloc[1], "adversarial_accuracy") == (0.3, *wilson(30, 100))
    assert with_interval(table.iloc[1], "undefended_accuracy") == (0.1, *wilson(10, 100))
    assert table["gradient_vanished"].tolist()[:2] == [0.25, 0.25]
    assert table["n_queries"].tolist()[:2] == [21, 42]
    worst = table.iloc[2]
    assert with_interval(worst, "adversarial_accuracy") == (0, *wilson(0, 200))
    assert with_interval(worst, "undefended_accuracy") == (0.01, *wilson(2, 200))
    assert worst[["objective", "n_queries", "gradient_vanished"]].isna().all()


def test_adaptive_table_every_run_and_pooling_ends_with_worst_case():
    results = [
        contents.result(contents.adaptive(), contents.run(seed=seed), pooling)
        for seed in (0, 1)
        for pooling in ("flatten", "mean")
    ]
    table = adaptive_table(results)
    last = table.groupby(["pooling", "seed"], sort=False).tail(1)
    assert last["attack"].tolist() == [WORST_CASE["attack"]] * 4
    assert (table["attack"] == WORST_CASE["attack"]).sum() == 4


def test_adaptive_table_attack_on_no_image_has_no_rate():
    content = contents.adaptive()
    content["attacks"][1] |= {"attacked": 0, "defended_correct": 0, "network_correct": 0, "vanished": 0}
    row = adaptive_table([contents.result(content)]).iloc[1]
    assert row[["adversarial_accuracy", "gradient_vanished"]].isna().all()
    assert (row["adversarial_accuracy_low"], row["adversarial_accuracy_high"]) == (0, 1)


def test_comparison_table_rows_have_threat_and_rates():
    table = comparison_table(ADAPTIVE)
    keys = table[["method", "threat", "stopping_rule", "attack"]].astype(object).where(table.notna(), None)
    assert keys.to_numpy().tolist() == [
        ["undefended", "adaptive", None, WORST_CASE["attack"]],
        ["feature paths", "oblivious", "first-success", "apgd"],
        ["feature paths", "oblivious", "max-loss", "apgd"],
        ["feature paths", "adaptive", None, WORST_CASE["attack"]],
    ]
    assert table["clean_accuracy"].tolist() == [0.9, 0.8, 0.8, 0.8]
    assert table["adversarial_accuracy"].tolist() == [0.01, 0.6, 0.25, 0]
    assert with_interval(table.iloc[1], "adversarial_accuracy") == (0.6, *wilson(120, 200))
    assert set(table["eps"]) == {8 / 255}
    assert set(table["norm"]) == {"linf"}


def test_comparison_table_mcnemar_compares_the_worst_cases():
    content = contents.adaptive(mcnemar=contents.paired(1, 5))
    table = comparison_table([contents.result(content)])
    row = table.iloc[-1]
    assert (row["only_feature_paths_correct"], row["only_undefended_correct"]) == (1, 5)
    assert row["mcnemar_p"] == pytest.approx(2 * (1 + 6) / 2**6)
    assert table.iloc[:-1][["mcnemar_p", "only_feature_paths_correct"]].isna().all(axis=None)


def test_detector_table_has_oblivious_and_adaptive_rows():
    table = detector_table([contents.result(contents.detectors())], ADAPTIVE)
    # two detectors, two stopping rules, two thresholds; one detector attacked, two thresholds
    assert table["threat"].tolist() == ["oblivious"] * 8 + ["adaptive"] * 2
    row = table.iloc[0]
    assert row[["detector", "layers", "stopping_rule", "threshold_method"]].tolist() == [
        "feature-paths", "1+2+3", "first-success", "otsu"]  # fmt: skip
    assert with_interval(row, "detection_rate") == (0.5, *wilson(100, 200))
    assert with_interval(row, "false_positive_rate") == (0.3, *wilson(60, 200))
    assert with_interval(row, "balanced_accuracy") == (pytest.approx(0.6), 0.55, 0.65)
    assert with_interval(row, "tpr_at_fpr_5") == (0.75, 0.7, 0.8)
    assert row[["n_clean", "n_adversarial", "n_successful"]].tolist() == [200, 200, 150]
    adaptive = table.iloc[-1]
    assert (adaptive["detector"], adaptive["attack"]) == ("confidence", ON_ITSELF)
    assert pd.isna(adaptive["stopping_rule"])
    assert pd.isna(adaptive["layers"])


def test_detector_table_has_columns_of_detection_table():
    content = {"n_clean": 200, "n_adversarial": 200, "n_successful": 150, "n_unsuccessful": 30,
               "protocols": {"held-out": contents.measured("", layers=[1])}}  # fmt: skip
    like = detection_table([Result(contents.run(), content, "flatten", "x", "apgd", "max-loss")])
    table = detector_table([contents.result(contents.detectors())], ADAPTIVE)
    assert table.columns.tolist() == like.columns.tolist()


def test_calibration_matrix_table_rates_match_counts():
    table = calibration_matrix_table([contents.result(contents.detectors())])
    assert table["detector"].tolist() == ["feature-paths", "feature-paths", "confidence"]
    assert table["tested_on"].tolist() == ["apgd.first-success", "apgd.max-loss", "apgd.first-success"]
    assert table["detection_rate"].tolist() == [0.5, 0.9, 0.5]
    assert table["false_positive_rate"].tolist() == [0.2] * 3
    np.testing.assert_allclose(table["balanced_accuracy"], [0.65, 0.85, 0.65])


def test_balanced_accuracy_interval_matches_newcombe():
    # Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80 = 0.2 [0.0524, 0.3339]; here half of 1 + that
    row = newcombe_balanced_accuracy(56, 70, 48, 80)
    bounds = np.array(with_interval(row, "balanced_accuracy"))
    np.testing.assert_allclose(2 * bounds - 1, [0.2, 0.0524, 0.3339], atol=5e-5)


def test_evasion_table_rates_match_counts():
    table = evasion_table(ADAPTIVE)
    five = table[table["threshold_method"] == "fpr-5"]
    assert five["threat"].tolist() == ["oblivious", "oblivious", "adaptive"]
    assert five["evasion_rate"].tolist() == [0.4, 0.6, 0.95]
    assert five["false_positive_rate"].tolist() == [0.06] * 3
    assert with_interval(five.iloc[-1], "evasion_rate") == (0.95, *wilson(190, 200))
    assert len(table) == 9


def test_controls_table_rates_match_counts():
    table = controls_table([contents.result(contents.controls())]).set_index(["control", "setting"])
    row = table.loc[("size of the perturbation", "eps 0.15 (× 1)")]
    assert (row["defended_accuracy"], row["undefended_accuracy"]) == (0.25, 0.125)
    row = table.loc[("search budget", "10 iterations, 1 restart")]
    assert (row["defended_accuracy"], row["n"]) == (0.5, 128)
    row = table.loc[("without gradients", "square, 1,000 queries")]
    assert (row["defended_accuracy"], row["missed"], row["n"]) == (0.25, 2, 64)
    assert with_interval(row, "defended_accuracy") == (0.25, *wilson(16, 64))
    assert pd.isna(row["undefended_accuracy"])
    assert table.loc[("transferred", "from resnet20-standard-s0")]["missed"] == 0
    assert table.loc[("vanished gradients", "")]["gradient_vanished"] == 0.25
    row = table.loc[("no attack", "blur 1.5")]
    assert row[["flagged_rate", "undefended_accuracy", "defended_accuracy"]].tolist() == [0.5, 0.75, 0.625]
    assert table.loc[("no attack", "clean")]["flagged_rate"] == 0.125


def test_controls_table_no_transfer_source_has_no_row():
    table = controls_table([contents.result(contents.controls(source=None))])
    assert "transferred" not in set(table["control"])


def test_checks_table_has_result_of_each_check():
    checks = [contents.check(), contents.check("square finds nothing new", passed=False, found="2 of 64")]
    table = checks_table([contents.result(contents.controls(checks))])
    assert table["passed"].tolist() == [True, False]
    assert table["found"].tolist() == ["0 of 128 at eps 1.2", "2 of 64"]


def test_render_every_adaptive_table_has_caption_and_no_missing_values():
    oblivious, controls = [contents.result(contents.detectors())], [contents.result(contents.controls())]
    tables = {
        "adaptive": adaptive_table(ADAPTIVE),
        "comparison": comparison_table(ADAPTIVE),
        "detectors": detector_table(oblivious, ADAPTIVE),
        "calibration_matrix": calibration_matrix_table(oblivious),
        "evasion": evasion_table(ADAPTIVE),
        "controls": controls_table(controls),
        "checks": checks_table(controls),
        "evaluation": evaluation_table(ADAPTIVE[0].content),
    }
    tables["adaptive_summary"] = summary_table("adaptive_summary", tables, {})
    main = {"architecture", "accuracy", "attacks", "combinations", "detection", "recognition", "summary", "collapse"}
    assert tables.keys() | main == TABLES.keys()
    for name, table in tables.items():
        texts = render(name, table)
        for text in (texts[f"{name}.md"], texts[f"{name}.html"]):
            assert TABLES[name]["title"] in text
            assert "nan" not in text.lower().replace("balanced", "")
            assert "<NA>" not in text
    assert "60.0 [53.1, 66.5]" in render("comparison", tables["comparison"])["comparison.md"]


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(1, "restart", "1 restart"), (2, "restart", "2 restarts"), (1, "query", "1 query"),
     (1000, "query", "1,000 queries"), (0, "image", "0 images")],
)  # fmt: skip
def test_counted_noun_plural_unless_one(count, noun, text):
    assert counted_noun(count, noun) == text


def test_adaptive_table_omitted_attacks_remark_names_each_reason_once():
    few = contents.result(contents.adaptive(left_out="dlr, which needs 3 classes"))
    text = render("adaptive", adaptive_table([few, few]))["adaptive.md"]
    assert text.count("dlr, which needs 3 classes") == 1
    assert "Omitted" not in render("adaptive", adaptive_table(ADAPTIVE))["adaptive.md"]
