"""Tables of recognition: clean and adversarial accuracy with and without feature paths (the paper's Tables 2 to 4)."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from featurepaths.report.results import Result
from featurepaths.report.tables.table import build, columns_of, joined


def recognition_table(results: Iterable[Result]) -> pd.DataFrame:
    """Clean and adversarial accuracy of every network, undefended and with feature paths.

    By definition the undefended network classifies no successful adversarial image correctly, and every unsuccessful
    one: its accuracies by group are left out. McNemar's p-values compare feature paths with the undefended network, on
    the clean images (`clean_mcnemar_p`) and on the adversarial images (`mcnemar_p`).
    """
    rows = []
    for result in results:
        rows.append(
            {**result.keys, **result.content, "method": "undefended", "pooling": None, **result.content["network"]}
        )
        for row in _votes(result, "outcomes"):
            p_values = {images: test["p_value"] for images, test in row["mcnemar"].items()}
            rows.append(row | {"clean_mcnemar_p": p_values["clean"], "mcnemar_p": p_values["adversarial"]})
    # the undefended network's row is the same for every pooling
    return build("recognition", rows).drop_duplicates(ignore_index=True)


def combinations_table(results: Iterable[Result]) -> pd.DataFrame:
    """Table 3: adversarial accuracy of votes of middle layers, over all and over flagged images, by tie break."""
    rows = (row for result in results for row in _votes(result, "combinations"))
    order = ["model", "training", "pooling", "attack", "stopping_rule", "seed", "layers", "tie_break", "protocol"]
    return _in_configured_order(build("combinations", rows), order)


def accuracy_table(recognition: pd.DataFrame) -> pd.DataFrame:
    """Tables 2 and 4: the rows of the recognition table that the paper compares, at Otsu's threshold."""
    compared = recognition[recognition["threshold_method"].isna() | (recognition["threshold_method"] == "otsu")]
    order = ["model", "attack", "stopping_rule", "seed", "training", "method", "pooling", "protocol"]
    return _in_configured_order(compared[columns_of("accuracy")], order)


def _votes(result: Result, kind: str) -> Iterator[dict[str, Any]]:
    """Yield a row per protocol and ``outcomes`` of its defence, or ``combinations`` of layers."""
    for protocol, defended in result.content["protocols"].items():
        for vote in defended[kind]:
            yield {
                **result.keys,
                **result.content,
                "method": "feature paths",
                "protocol": protocol,
                "tie_break": defended["tie_break"],
                **vote,
                "layers": joined(vote.get("layers", defended["layers"])),
                "n_flagged": vote["flagged_adversarial"],
            }


def _in_configured_order(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Sort rows by `columns`, each in the order in which its values were configured, missing values first.

    The undefended network therefore comes first, and the rows of both protocols are adjacent.
    """
    return table.sort_values(columns, key=lambda values: pd.factorize(values)[0], ignore_index=True)
