"""The main table: a row per network, for the report's first page and for the terminal."""

import pandas as pd

from featurepaths.experiment.run import Run
from featurepaths.report.tables.table import BOUNDS


def main_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the main table as texts, with a row for each network and pooling; a single pooling is not named.

    An accuracy is in per cent, with feature paths unless the column says otherwise, and followed by its 95 % interval.
    Of several attacks and stopping rules it is the least and the greatest.

    Parameters
    ----------
    table
        The table `comparison`, or without an adaptive evaluation the table `accuracy`, whose attacks are all oblivious.
    """
    alone, defended = (table[table["method"] == method] for method in ("undefended", "feature paths"))
    if (held_out := defended["protocol"] == "held-out").any():
        defended = defended[held_out]
    rows = []
    for key, group in defended.groupby(["model", "training", "seed", "pooling"], sort=False):
        *run, pooling = key
        network = alone[(alone[["model", "training", "seed"]] == run).all(axis=1)]
        network = network[network["pooling"].isna() | (network["pooling"] == pooling)]
        row = {"network": str(Run(*run)), "pooling": pooling}
        for prefix, of_method in (("", group), ("network alone, ", network)):
            row[f"{prefix}no attack"] = _accuracy(of_method, "clean_accuracy")
            for threat in ("oblivious", "adaptive"):
                if len(attacked := of_method[of_method["threat"] == threat]):
                    row[f"{prefix}{threat} attacks"] = _accuracy(attacked, "adversarial_accuracy")
        rows.append(row)
    main = pd.DataFrame(rows)
    return main if main["pooling"].nunique() > 1 else main.drop(columns="pooling")


def _accuracy(rows: pd.DataFrame, column: str) -> str:
    """Return the share of rows in per cent and its interval, or if they differ the lowest and the highest share."""
    names = [column, *(f"{column}{bound}" for bound in BOUNDS)]
    texts = {tuple(f"{100 * number:.1f}" for number in row) for row in rows[names].itertuples(index=False)}
    if len(texts) == 1:
        ((share, low, high),) = texts
        return f"{share} [{low}, {high}]"
    least, greatest = (f"{100 * share:.1f}" for share in (rows[column].min(), rows[column].max()))
    return least if least == greatest else f"{least} to {greatest}"
