"""Tables of recognition: clean and adversarial accuracy with and without feature paths (the paper's Tables 2 to 4)."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from featurepaths.report.results import Evaluation
from featurepaths.report.tables.columns import GROUP_COUNTS, interval_columns, joined, rate, select

KEYS = ["model", "training", "method", "pooling", "layers", "tie_break", "attack", "stopping_rule", "threat",
        "protocol", "threshold_method", "seed"]  # fmt: skip
ACCURACIES = interval_columns("clean_accuracy", "adversarial_accuracy", "flagged_accuracy")
GROUP_ACCURACIES = interval_columns("successful_accuracy", "unsuccessful_accuracy")
P_VALUES = ["clean_mcnemar_p", "mcnemar_p"]


def recognition_table(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Clean and adversarial accuracy of every network, undefended and with feature paths.

    By definition the undefended network classifies no successful adversarial image correctly, and every unsuccessful
    one: its accuracies by group are left out. McNemar's p-values compare feature paths with the undefended network, on
    the clean images (`clean_mcnemar_p`) and on the adversarial images (`mcnemar_p`).
    """
    rows = []
    for evaluation in evaluations:
        content = evaluation.content
        counts = select(content, "n", *GROUP_COUNTS)
        n, n_successful, n_unsuccessful = counts.values()
        keys = {**evaluation.run.keys(evaluation.pooling), **evaluation.attack_keys, **counts}
        rows.append({**keys, "method": "undefended", "pooling": None, **_accuracies(content["network"], n)})
        rows += [
            {
                **keys,
                "method": "feature paths",
                "layers": joined(defended["layers"]),
                "tie_break": defended["tie_break"],
                "protocol": protocol,
                **_defended_accuracies(outcome, n),
                **rate("successful_accuracy", outcome["successful_correct"], n_successful),
                **rate("unsuccessful_accuracy", outcome["unsuccessful_correct"], n_unsuccessful),
                "clean_mcnemar_p": outcome["mcnemar"]["clean"]["p_value"],
                "mcnemar_p": outcome["mcnemar"]["adversarial"]["p_value"],
            }
            for protocol, defended in content["protocols"].items()
            for outcome in defended["outcomes"]
        ]
    columns = [*KEYS, *ACCURACIES, *GROUP_ACCURACIES, *P_VALUES, "n", *GROUP_COUNTS, "n_flagged"]
    table = pd.DataFrame(rows, columns=columns)
    # the undefended network's row is the same for every pooling
    return table.astype({"n_flagged": "Int64"}).drop_duplicates(ignore_index=True)


def combinations_table(evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    """Table 3: adversarial accuracy of votes of middle layers, over all and over flagged images, by tie break."""
    rows = [
        {
            **evaluation.run.keys(evaluation.pooling),
            "layers": joined(vote["layers"]),
            "tie_break": vote["tie_break"],
            **evaluation.attack_keys,
            "protocol": protocol,
            **_defended_accuracies(vote, evaluation.content["n"]),
            "n": evaluation.content["n"],
        }
        for evaluation in evaluations
        for protocol, defended in evaluation.content["protocols"].items()
        for vote in defended["combinations"]
    ]
    columns = ["model", "training", "pooling", "layers", "tie_break", "attack", "stopping_rule", "threat", "protocol",
               "seed", "threshold_method", *ACCURACIES, "n_flagged", "n"]  # fmt: skip
    order = ["model", "training", "pooling", "attack", "stopping_rule", "seed", "layers", "tie_break", "protocol"]
    return _in_configured_order(pd.DataFrame(rows, columns=columns), order)


def accuracy_table(recognition: pd.DataFrame) -> pd.DataFrame:
    """Tables 2 and 4: the rows of the recognition table that the paper compares, at Otsu's threshold."""
    compared = recognition[recognition["threshold_method"].isna() | (recognition["threshold_method"] == "otsu")]
    order = ["model", "attack", "stopping_rule", "seed", "training", "method", "pooling", "protocol"]
    return _in_configured_order(compared[[*KEYS, *ACCURACIES, "n", "n_flagged"]], order)


def _accuracies(outcome: Mapping[str, Any], n: int) -> dict[str, Any]:
    adversarial = rate("adversarial_accuracy", outcome["adversarial_correct"], n)
    return rate("clean_accuracy", outcome["clean_correct"], n) | adversarial


def _defended_accuracies(outcome: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {
        "threshold_method": outcome["threshold_method"],
        **_accuracies(outcome, n),
        **rate("flagged_accuracy", outcome["flagged_correct"], outcome["flagged_adversarial"]),
        "n_flagged": outcome["flagged_adversarial"],
    }


def _in_configured_order(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Sort rows by `columns`, each in the order in which its values were configured, missing values first.

    The undefended network therefore comes first, and the rows of both protocols are adjacent.
    """
    order = pd.DataFrame({column: pd.factorize(table[column])[0] for column in columns}, index=table.index)
    return table.loc[order.sort_values(columns, kind="stable").index].reset_index(drop=True)
