import numpy as np
import pandas as pd
import pytest

from featurepaths.report import comparison, tables
from featurepaths.report.summary import adaptive_summary_table
from featurepaths.statistics.metrics import wilson
from tests.report import made_up

RUN = made_up.run()
FOUND = [(RUN, "flatten", made_up.adaptive(vanished=0.25))]


def answers(defended_only, undefended_only, both=0, n=200):
    """Which images either answers correctly, as the artefact holds it."""
    defended, undefended = np.zeros((2, n), bool)
    defended[: defended_only + both] = True
    undefended[defended_only : defended_only + both + undefended_only] = True
    return {"resnet18-standard-s0/flatten": {"defended/adaptive": defended, "undefended/adaptive": undefended}}


def with_interval(row, name):
    return tuple(row[f"{name}{end}"] for end in ("", "_low", "_high"))


def test_attacks_count_what_they_attacked_and_the_worst_case_everything():
    table = comparison.adaptive_table(FOUND)
    assert table["attack"].tolist() == ["apgd.first-success", "evade.ce", comparison.WORST_CASE]
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


def test_every_run_and_pooling_ends_with_its_worst_case():
    found = [
        (made_up.run(seed=seed), pooling, made_up.adaptive()) for seed in (0, 1) for pooling in ("flatten", "mean")
    ]
    table = comparison.adaptive_table(found)
    last = table.groupby(["pooling", "seed"], sort=False).tail(1)
    assert last["attack"].tolist() == [comparison.WORST_CASE] * 4
    assert (table["attack"] == comparison.WORST_CASE).sum() == 4


def test_an_attack_on_nothing_has_no_rate():
    content = made_up.adaptive()
    content["attacks"][1] |= {"attacked": 0, "defended_correct": 0, "network_correct": 0, "vanished": 0}
    row = comparison.adaptive_table([(RUN, "flatten", content)]).iloc[1]
    assert row[["adversarial_accuracy", "gradient_vanished"]].isna().all()
    assert (row["adversarial_accuracy_low"], row["adversarial_accuracy_high"]) == (0, 1)


def test_the_fair_comparison_labels_every_threat():
    table = comparison.comparison_table(FOUND, answers(0, 2))
    keys = table[["method", "threat", "stopping_rule", "attack"]].astype(object).where(table.notna(), None)
    assert keys.to_numpy().tolist() == [
        ["undefended", "adaptive", None, comparison.WORST_CASE],
        ["feature paths", "oblivious", "first-success", "apgd"],
        ["feature paths", "oblivious", "max-loss", "apgd"],
        ["feature paths", "adaptive", None, comparison.WORST_CASE],
    ]
    assert table["clean_accuracy"].tolist() == [0.9, 0.8, 0.8, 0.8]
    assert table["adversarial_accuracy"].tolist() == [0.01, 0.6, 0.25, 0]
    assert with_interval(table.iloc[1], "adversarial_accuracy") == (0.6, *wilson(120, 200))
    assert set(table["eps"]) == {8 / 255}
    assert set(table["norm"]) == {"linf"}


def test_mcnemar_is_of_the_two_worst_cases():
    row = comparison.comparison_table(FOUND, answers(defended_only=1, undefended_only=5, both=7)).iloc[-1]
    assert (row["only_feature_paths_correct"], row["only_undefended_correct"]) == (1, 5)
    assert row["mcnemar_p"] == pytest.approx(2 * (1 + 6) / 2**6)
    others = comparison.comparison_table(FOUND, answers(1, 5)).iloc[:-1]
    assert others["mcnemar_p"].isna().all()


def test_detectors_oblivious_and_at_themselves():
    table = comparison.detector_table([(RUN, "flatten", made_up.detectors())], FOUND)
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
    itself = table.iloc[-1]
    assert (itself["detector"], itself["attack"]) == ("confidence", comparison.AT_ITSELF)
    assert pd.isna(itself["stopping_rule"])
    assert pd.isna(itself["layers"])


def test_the_same_columns_as_the_detection_table():
    content = {"n_clean": 200, "n_adversarial": 200, "n_successful": 150, "n_unsuccessful": 30,
               "protocols": {"held-out": made_up.measured("", layers=[1])}}  # fmt: skip
    like = tables.detection_table([tables.Evaluation(RUN, "flatten", "x", "apgd", "max-loss", content)])
    table = comparison.detector_table([(RUN, "flatten", made_up.detectors())], FOUND)
    assert table.columns.tolist() == like.columns.tolist()


def test_the_calibration_matrix_by_hand():
    table = comparison.calibration_matrix_table([(RUN, "flatten", made_up.detectors())])
    assert table["detector"].tolist() == ["feature-paths", "feature-paths", "confidence"]
    assert table["tested_on"].tolist() == ["apgd.first-success", "apgd.max-loss", "apgd.first-success"]
    assert table["detection_rate"].tolist() == [0.5, 0.9, 0.5]
    assert table["false_positive_rate"].tolist() == [0.2] * 3
    np.testing.assert_allclose(table["balanced_accuracy"], [0.65, 0.85, 0.65])


def test_the_interval_of_the_balanced_accuracy_is_newcombes():
    # Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80 = 0.2 [0.0524, 0.3339]; here half of 1 + that
    row = comparison._balanced(56, 70, 48, 80)
    bounds = np.array(with_interval(row, "balanced_accuracy"))
    np.testing.assert_allclose(2 * bounds - 1, [0.2, 0.0524, 0.3339], atol=5e-5)


def test_evasion_by_hand():
    table = comparison.evasion_table(FOUND)
    five = table[table["threshold_method"] == "fpr-5"]
    assert five["threat"].tolist() == ["oblivious", "oblivious", "adaptive"]
    assert five["evasion_rate"].tolist() == [0.4, 0.6, 0.95]
    assert five["false_positive_rate"].tolist() == [0.06] * 3
    assert with_interval(five.iloc[-1], "evasion_rate") == (0.95, *wilson(190, 200))
    assert len(table) == 9


def test_controls_by_hand():
    table = comparison.controls_table([(RUN, "flatten", made_up.controls())]).set_index(["control", "setting"])
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


def test_without_a_network_to_transfer_from_there_is_no_such_row():
    table = comparison.controls_table([(RUN, "flatten", made_up.controls(source=None))])
    assert "transferred" not in set(table["control"])


def test_checks_say_what_they_found():
    checks = [made_up.check(), made_up.check("square finds nothing new", passed=False, found="2 of 64")]
    table = comparison.checks_table([(RUN, "flatten", made_up.controls(checks))])
    assert table["passed"].tolist() == [True, False]
    assert table["found"].tolist() == ["0 of 128 at eps 1.2", "2 of 64"]


def test_every_table_can_be_shown_to_people():
    found = {
        "adaptive": comparison.adaptive_table(FOUND),
        "comparison": comparison.comparison_table(FOUND, answers(0, 2)),
        "detectors": comparison.detector_table([(RUN, "flatten", made_up.detectors())], FOUND),
        "calibration_matrix": comparison.calibration_matrix_table([(RUN, "flatten", made_up.detectors())]),
        "evasion": comparison.evasion_table(FOUND),
        "adaptive_summary": adaptive_summary_table(
            comparison.comparison_table(FOUND, answers(0, 2)),
            comparison.evasion_table(FOUND),
            comparison.detector_table([(RUN, "flatten", made_up.detectors())], FOUND),
            {},
        ),
        "controls": comparison.controls_table([(RUN, "flatten", made_up.controls())]),
        "checks": comparison.checks_table([(RUN, "flatten", made_up.controls())]),
    }
    assert found.keys() == comparison.TITLES.keys()
    for name, (title, note) in comparison.TITLES.items():
        for text in (tables.to_markdown(found[name], title, note), tables.to_html(found[name], title, note)):
            assert title in text
            assert "nan" not in text.lower().replace("balanced", "")
            assert "<NA>" not in text
    assert "60.0 [53.1, 66.5]" in tables.to_markdown(found["comparison"], "", "")


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [(1, "restart", "1 restart"), (2, "restart", "2 restarts"), (1, "query", "1 query"),
     (1000, "query", "1,000 queries"), (0, "image", "0 images")],
)  # fmt: skip
def test_plurals(count, noun, words):
    assert comparison.counted_noun(count, noun) == words


def test_the_caption_says_what_few_classes_left_out():
    few = ("run", "mean", {"left_out": "dlr, which needs 3 classes"})
    assert "dlr, which needs 3 classes" in comparison.title_of("adaptive", [few, few])[1]
    assert comparison.title_of("adaptive", [("run", "mean", {})]) == comparison.TITLES["adaptive"]
    assert comparison.title_of("evasion", [few]) == comparison.TITLES["evasion"]
