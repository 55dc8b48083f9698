"""Tables of the controls for masked gradients, and of the checks on their results."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from featurepaths.report.results import Result, counted_noun
from featurepaths.report.tables.table import build


def controls_table(controls: Iterable[Result]) -> pd.DataFrame:
    """Results of every control, one row per setting."""
    rows = (
        {**result.keys, "n": result.content["n"], **counts, "control": control, "setting": setting}
        for result in controls
        for control, setting, counts in _settings(result.content)
    )
    return build("controls", rows)


def _settings(content: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the control, the setting and the counts of each row."""
    for counts in content["eps"]:
        yield "size of the perturbation", f"eps {counts['eps']:.4g} (× {counts['multiple']})", counts
    for counts in content["budget"]:
        setting = f"{counted_noun(counts['iterations'], 'iteration')}, {counted_noun(counts['restarts'], 'restart')}"
        yield "search budget", setting, counts
    black_box, transfer, vanished = content["black_box"], content["transfer"], content["vanished"]
    yield "without gradients", f"{black_box['attack']}, {counted_noun(black_box['n_queries'], 'query')}", black_box
    if transfer["source"] is not None:
        yield "transferred", f"from {transfer['source']}", transfer
    yield "vanished gradients", "", {"n": vanished["n"], "vanished": vanished["images"]}
    for counts in content["false_positives"]:
        corruption = counts["corruption"]
        setting = corruption if corruption == "clean" else f"{corruption} {counts['level']}"
        yield "no attack", setting, counts | {"undefended_correct": counts["network_correct"]}


def checks_table(controls: Iterable[Result]) -> pd.DataFrame:
    """Checks on the controls: what each requires, whether it passed, and the measured value."""
    rows = (result.keys | check for result in controls for check in result.content["checks"])
    return build("checks", rows)
