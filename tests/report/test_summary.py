import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from featurepaths.experiment.run import Run
from featurepaths.report.results import Result
from featurepaths.report.tables import summary
from featurepaths.report.tables.detection import detection_table
from featurepaths.report.tables.recognition import recognition_table
from featurepaths.report.tables.table import render
from tests.experiments import TINY

GROUPS = {"apgd": "apgd", "again": "apgd", "other": "other"}
RANKING = ("auroc", "aupr", "tpr_at_fpr_1", "tpr_at_fpr_5")
THRESHOLDS = {"paper": ["otsu"], "held-out": ["otsu", "fpr-5", "fpr-1"]}


def recognised(correct, flagged=50):
    return {"clean_correct": 90, "adversarial_correct": correct, "flagged_clean": 3, "flagged_adversarial": flagged,
            "flagged_correct": flagged // 2, "successful_correct": 3, "unsuccessful_correct": 2,
            "mcnemar": {"clean": {"p_value": 1.0}, "adversarial": {"p_value": 1.0}}}  # fmt: skip


def summarised(correct, groups=GROUPS, flagged=50):
    """The summary of runs whose count of correct answers on 100 adversarial images, by seed and attack, is `correct`.

    The AUROC is a hundredth of that count.
    """
    recognised_by, detected_by = [], []
    counts = {"n": 100, "n_clean": 100, "n_adversarial": 100, "n_successful": 85, "n_unsuccessful": 5}
    for (seed, attack), right in correct.items():
        names = "mean", "feature-paths", attack, "max-loss"
        network = {"clean_correct": 95, "adversarial_correct": right // 2}
        defended = {
            protocol: {"layers": [1], "tie_break": "last-layer", "combinations": [],
                       "outcomes": [{"threshold_method": name, **recognised(right, flagged)} for name in methods]}
            for protocol, methods in THRESHOLDS.items()
        }  # fmt: skip
        run = Run("small", "standard", seed)
        recognised_by.append(Result(run, counts | {"network": network, "protocols": defended}, *names))
        measured = {
            protocol: {
                "layers": [1],
                "ranking": dict.fromkeys(RANKING, right / 100),
                "intervals": {name: [0.1, 0.9] for name in [*RANKING, *(f"balanced_accuracy.{m}" for m in methods)]},
                "successful": {"auroc": None, "interval": None},
                "at_threshold": {
                    name: {"threshold": 0.7, "flagged_clean": 20, "flagged_adversarial": right,
                           "flagged_successful": 1, "flagged_unsuccessful": 1}
                    for name in methods
                },
            }
            for protocol, methods in THRESHOLDS.items()
        }  # fmt: skip
        detected_by.append(Result(run, counts | {"protocols": measured}, *names))
    tables = {"recognition": recognition_table(recognised_by), "detection": detection_table(detected_by)}
    return summary.summary_table("summary", tables, groups)


def rows(table, metric, **where):
    matching = table[table["metric"] == metric]
    for column, value in where.items():
        matching = matching[matching[column].isna() if value is None else matching[column] == value]
    return matching


def row(table, metric, **where):
    matching = rows(table, metric, **where)
    assert len(matching) == 1
    return matching.iloc[0]


DEFENDED = {"method": "feature paths", "protocol": "held-out", "threshold_method": "otsu"}


def test_summary_attack_seeds_are_averaged_within_training_seeds():
    correct = {(0, "apgd"): 40, (0, "again"): 50, (1, "apgd"): 60, (1, "again"): 62, (2, "apgd"): 10, (2, "again"): 20}
    summarised_row = row(summarised(correct), "adversarial_accuracy", **DEFENDED)
    of_training = [0.45, 0.61, 0.15]
    assert summarised_row["mean"] == pytest.approx(np.mean(of_training))
    assert summarised_row["sd"] == pytest.approx(np.std(of_training, ddof=1))
    expected = stats.ttest_1samp(of_training, 0).confidence_interval(0.95)
    assert summarised_row["mean_low"] == pytest.approx(max(expected.low, 0))
    assert summarised_row["mean_high"] == pytest.approx(expected.high)
    assert summarised_row[["n_training_seeds", "n_attack_seeds", "interval"]].tolist() == [3, 2, "training seeds"]
    assert summarised_row["attack"] == "apgd", "the group's name"


def test_summary_one_run_keeps_its_interval():
    table = summarised({(7, "apgd"): 40})
    summarised_row = row(table, "adversarial_accuracy", **DEFENDED)
    expected = stats.binomtest(40, 100).proportion_ci(method="wilson")
    assert summarised_row[["mean", "mean_low", "mean_high"]].tolist() == pytest.approx(
        [0.4, expected.low, expected.high]
    )
    assert summarised_row[["n_training_seeds", "n_attack_seeds", "interval"]].tolist() == [1, 1, "images"]
    assert pd.isna(summarised_row["sd"])
    ranked = row(table, "auroc", protocol="paper")
    assert ranked[["mean", "mean_low", "mean_high"]].tolist() == [0.4, 0.1, 0.9]


def test_summary_several_attacks_on_one_network_have_no_interval():
    summarised_row = row(summarised({(0, "apgd"): 40, (0, "again"): 50}), "adversarial_accuracy", **DEFENDED)
    assert summarised_row["mean"] == pytest.approx(0.45)
    assert summarised_row[["mean_low", "mean_high", "sd"]].isna().all()
    assert summarised_row[["n_training_seeds", "n_attack_seeds", "interval"]].tolist() == [1, 2, "none"]


def test_summary_attacks_of_different_groups_have_separate_rows():
    table = summarised({(seed, attack): 40 for seed in (0, 1) for attack in ("apgd", "again", "other")})
    assert rows(table, "adversarial_accuracy", **DEFENDED)["attack"].tolist() == ["apgd", "other"]
    assert rows(table, "adversarial_accuracy", **DEFENDED)["n_attack_seeds"].tolist() == [2, 1]


def test_summary_metrics_have_a_row_per_key_they_depend_on():
    table = summarised({(seed, "apgd"): 40 for seed in (0, 1)})
    for metric in ("clean_accuracy", "adversarial_accuracy"):
        assert len(rows(table, metric, method="undefended", protocol=None, threshold_method=None)) == 1
        assert len(rows(table, metric, method="feature paths", protocol="held-out")) == 3
    assert len(rows(table, "detection_rate", detector="feature-paths", method=None)) == 4
    for metric in ("auroc", "tpr_at_fpr_1", "tpr_at_fpr_5"):
        assert rows(table, metric, threshold_method=None)["protocol"].tolist() == ["paper", "held-out"]
    assert set(table["metric"]) == {"clean_accuracy", "adversarial_accuracy", "flagged_accuracy", "auroc",
        "tpr_at_fpr_1", "tpr_at_fpr_5", "detection_rate", "false_positive_rate", "balanced_accuracy"}  # fmt: skip


def test_summary_metric_of_no_run_is_missing():
    summarised_row = row(summarised({(0, "apgd"): 40, (1, "apgd"): 41}, flagged=0), "flagged_accuracy", **DEFENDED)
    assert summarised_row[["mean", "mean_low", "mean_high", "sd"]].isna().all()
    assert (summarised_row["n_training_seeds"], summarised_row["interval"]) == (0, "none")


@given(st.lists(st.integers(0, 100), min_size=2, max_size=8).filter(lambda correct: len(set(correct)) > 1))
def test_student_t_matches_scipy_clipped_to_rates(correct):
    rates = np.array(correct) / 100
    low, high = stats.ttest_1samp(rates, 0).confidence_interval(0.95)
    summarised_row = summary.student_t(rates.mean(), rates.std(ddof=1), len(rates))
    assert summarised_row == pytest.approx((max(low, 0), min(high, 1)))


def test_student_t_three_rates_matches_table():
    # t with two degrees of freedom leaves 2.5 % above 4.303
    assert summary.student_t(0.5, 0.1, 3) == pytest.approx((0.5 - 0.2484, 0.5 + 0.2484), abs=1e-4)


def test_summary_markdown_is_per_cent():
    text = render("summary", summarised({(0, "apgd"): 40, (1, "apgd"): 60}))["summary.md"]
    assert "| 50.0 [0.0, 100.0] | 14.1 |" in text
    assert "nan" not in text.lower()
    assert "| 45.0  " in render("summary", summarised({(0, "apgd"): 40, (0, "again"): 50}))["summary.md"]


def groups_of(attacks):
    """The groups of a plan whose attacks differ from that of the tiny experiment in some keys."""
    own = {name: TINY["attacks"]["apgd"] | changes for name, changes in attacks.items()}
    calibration = {"attack": next(iter(own)), "stopping_rule": "max-loss"}
    config = {**TINY, "attacks": own, "calibration": calibration, "adaptive": None, "detectors": []}
    return Plan(read_experiment(config)).tables().settings.groups


def test_attack_groups_differ_only_in_seed():
    attacks = {"b": {"seed": 3}, "a": {"seed": 0}, "c": {"seed": 0, "eps": "1/5"}, "d": {"stopping_rule": ["max-loss"]}}
    assert groups_of(attacks) == {"b": "b", "a": "b", "c": "c", "d": "d"}
    assert groups_of(
        {"a": {"stopping_rule": ["max-loss", "first-success"]}, "b": {"stopping_rule": ["first-success", "max-loss"]}}
    ) == {
        "a": "a",
        "b": "a",
    }
    assert Plan(read_experiment(TINY)).tables().settings.groups == {"apgd": "apgd"}


def test_adaptive_summary_two_seeds_has_their_mean():
    """Two seeds by hand: 0.1 and 0.3 have mean 0.2, and Student's interval is cut to [0, 1]."""
    where = {"model": "m", "training": "standard", "pooling": "mean", "protocol": "held-out", "attack": "worst case"}
    rates = {"clean_accuracy": 0.9, "clean_accuracy_low": 0.8, "clean_accuracy_high": 1.0}
    comparison = pd.DataFrame(
        {**where, **rates, "method": "feature paths", "threat": "adaptive", "stopping_rule": None, "seed": seed,
         "adversarial_accuracy": value, "adversarial_accuracy_low": 0.0, "adversarial_accuracy_high": 1.0}
        for seed, value in ((0, 0.1), (1, 0.3))
    )  # fmt: skip
    empty = pd.DataFrame(columns=["attack", "seed"])
    tables = {"comparison": comparison, "evasion": empty, "detectors": empty}
    summarised_row = summary.summary_table("adaptive_summary", tables, {"apgd": "apgd"}).set_index("metric")
    row = summarised_row.loc["adversarial_accuracy"]
    assert (row["n_training_seeds"], row["threat"], row["attack"]) == (2, "adaptive", "worst case")
    assert row["mean"] == pytest.approx(0.2)
    assert row["sd"] == pytest.approx(np.sqrt(0.02))
    assert (row["mean_low"], row["mean_high"]) == (0, 1)
    assert summarised_row.loc["clean_accuracy", "sd"] == 0
