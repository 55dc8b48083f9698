"""Tables of the networks (the paper's Table 1), of attacks on them, and of their progressive feedforward collapse."""

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from featurepaths.report.results import Checkpoints, Result
from featurepaths.report.tables.table import build


def architecture_table(checkpoints: Checkpoints) -> pd.DataFrame:
    """Table 1: number of stages K, output shapes and blocks per shape, counted from the built networks."""
    rows = []
    for model, checkpoint in {run.model: checkpoint for run, checkpoint in checkpoints.items()}.items():
        blocks = Counter("×".join(map(str, layer["shape"])) for layer in checkpoint["layers"])
        network = {"model": model, "K": len(blocks), "parameters": checkpoint["parameters"]}
        rows += [network | {"intermediate_dim": shape, "blocks": count} for shape, count in blocks.items()]
    return build("architecture", rows)


def attack_table(attacks: Iterable[Result]) -> pd.DataFrame:
    """Effect of every attack on the undefended networks.

    `gradient_vanished` is the share of images whose gradient was zero in every pixel, or not finite in some pixel, at
    some step. The loss and the norm are means over the adversarial examples of a stopping rule. Steps and gradients are
    unknown for attacks whose library only returns an example; queries are unknown for precomputed images.

    Parameters
    ----------
    attacks
        The records [N] of the attacked images, for each stopping rule.
    """
    rows = []
    for attack in attacks:
        records, n_queries = attack.content, int(attack.content["n_queries"].max())
        # a bfloat16 search may miss a success that the final float32 evaluation detects
        noticed = records["success"] & (records["first_fooled_step"] >= 0)
        n_clean_correct = int(records["clean_correct"].sum())
        row = attack.keys | {
            "n": len(records["clean_correct"]),
            "clean_correct": n_clean_correct,
            "n_clean_correct": n_clean_correct,
            "success": int(records["success"].sum()),
            "mean_first_fooled_step": pd.Series(records["first_fooled_step"][noticed]).mean(),
            "mean_loss": records["loss"].mean(),
            "mean_norm": records["norm"].mean(),
            "n_queries": n_queries if n_queries >= 0 else None,
        }
        if attack.stopping_rule != "returned":
            row["vanished"] = int((records["vanished_steps"] > 0).sum())
        rows.append(row)
    return build("attacks", rows)


def collapse_table(collapse: Iterable[Result]) -> pd.DataFrame:
    """PFC1, PFC2 and PFC3 of every run, pooling and layer."""
    rows = (result.keys | layer for result in collapse for layer in result.content["layers"])
    return build("collapse", rows)
