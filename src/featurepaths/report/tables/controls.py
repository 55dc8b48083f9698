"""Tables of the controls for masked gradients, and of the checks on their results."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from featurepaths.report.results import PoolingResults, counted_noun
from featurepaths.report.tables.columns import interval_columns, rate, select

RATES = {
    "defended_correct": "defended_accuracy",
    "undefended_correct": "undefended_accuracy",
    "network_correct": "undefended_accuracy",
    "flagged": "flagged_rate",
    "vanished": "gradient_vanished",
}
"""The column of each count's rate."""


def controls_table(controls: PoolingResults) -> pd.DataFrame:
    """Results of every control, one row per setting."""
    rows = []
    for run, pooling, content in controls:
        for control, setting, counts in _settings(content):
            row = {**run.keys(pooling), "control": control, "setting": setting, **counts}
            for key in RATES.keys() & counts.keys():
                row |= rate(RATES[key], counts[key], counts["n"])
            rows.append(row)
    rates = interval_columns(*dict.fromkeys(RATES.values()))
    columns = ["model", "training", "pooling", "seed", "control", "setting", "n", "missed", *rates]
    return pd.DataFrame(rows, columns=columns).astype({"missed": "Int64"})


def _settings(content: Mapping[str, Any]) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """Yield the control, the setting and the counts of each row."""
    n = {"n": content["n"]}
    for counts in content["eps"]:
        yield "size of the perturbation", f"eps {counts['eps']:.4g} (× {counts['multiple']})", n | counts
    for counts in content["budget"]:
        setting = f"{counted_noun(counts['iterations'], 'iteration')}, {counted_noun(counts['restarts'], 'restart')}"
        yield "search budget", setting, n | counts
    black_box, transfer, vanished = content["black_box"], content["transfer"], content["vanished"]
    yield "without gradients", f"{black_box['attack']}, {counted_noun(black_box['n_queries'], 'query')}", black_box
    if transfer["source"] is not None:
        yield "transferred", f"from {transfer['source']}", transfer
    yield "vanished gradients", "", {"n": vanished["n"], "vanished": vanished["images"]}
    for counts in content["false_positives"]:
        corruption = counts["corruption"]
        yield "no attack", corruption if corruption == "clean" else f"{corruption} {counts['level']}", counts


def checks_table(controls: PoolingResults) -> pd.DataFrame:
    """Checks on the controls: what each requires, whether it passed, and the measured value."""
    return pd.DataFrame(
        run.keys(pooling) | select(check, "check", "passed", "found")
        for run, pooling, content in controls
        for check in content["checks"]
    )
