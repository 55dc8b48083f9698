"""Tables of the networks (the paper's Table 1), of attacks on them, and of their progressive feedforward collapse."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from featurepaths.report.results import PoolingResults, Run
from featurepaths.report.tables.columns import rate


def architecture_table(runs: Iterable[Run]) -> pd.DataFrame:
    """Table 1: number of stages K, output shapes and blocks per shape, counted from the built networks."""
    rows = []
    for run in {run.model: run for run in runs}.values():
        shapes = [tuple(layer["shape"]) for layer in run.checkpoint["layers"]]
        rows += [
            {
                "model": run.model,
                "K": len(set(shapes)),
                "intermediate_dim": "×".join(map(str, shape)),
                "blocks": shapes.count(shape),
                "parameters": run.checkpoint["parameters"],
            }
            for shape in dict.fromkeys(shapes)
        ]
    return pd.DataFrame(rows)


def attack_table(attacks: Iterable[tuple[Run, str, Mapping[str, Any]]]) -> pd.DataFrame:
    """Effect of every attack on the undefended networks.

    `gradient_vanished` is the share of images whose gradient was zero in every pixel, or not finite in some pixel, at
    some step. The loss and the norm are means over the adversarial examples of a stopping rule. Steps and gradients are
    unknown for attacks whose library only returns an example; queries are unknown for precomputed images.

    Parameters
    ----------
    attacks
        Runs, names of attacks, and the records [N] of the attacked images.
    """
    table = pd.DataFrame(
        {
            **run.labels,
            "attack": attack,
            "stopping_rule": stopping_rule,
            "seed": run.seed,
            **rate("clean_accuracy", int(records["clean_correct"].sum()), len(records["clean_correct"])),
            **rate("success_rate", int(records["success"].sum()), int(records["clean_correct"].sum())),
            "gradient_vanished": (records["vanished_steps"] > 0).mean() if stopping_rule != "returned" else math.nan,
            "mean_first_fooled_step": _mean_step(records),
            "mean_loss": records[stopping_rule]["loss"].mean(),
            "mean_norm": records[stopping_rule]["norm"].mean(),
            "n_queries": int(records["n_queries"].max()),
            "n": len(records["clean_correct"]),
            "n_clean_correct": int(records["clean_correct"].sum()),
        }
        for run, attack, records in attacks
        for stopping_rule in records["stopping_rules"]
    )
    table["n_queries"] = table["n_queries"].astype("Int64").mask(table["n_queries"] < 0)
    return table


def _mean_step(records: Mapping[str, Any]) -> float:
    # a bfloat16 search may miss a success that the final float32 evaluation detects
    noticed = records["success"] & (records["first_fooled_step"] >= 0)
    return pd.Series(records["first_fooled_step"][noticed]).mean()


def collapse_table(collapse: PoolingResults) -> pd.DataFrame:
    """PFC1, PFC2 and PFC3 of every run, pooling and layer."""
    return pd.DataFrame(
        {**run.labels, "seed": run.seed, "pooling": pooling, **layer}
        for run, pooling, content in collapse
        for layer in content["layers"]
    )
