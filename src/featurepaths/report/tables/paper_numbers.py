"""Columns with the paper's own results on CIFAR-10, next to measured ones."""

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

import pandas as pd

from featurepaths.report.results import Checkpoints
from featurepaths.report.tables.table import TABLES

PAPER = tomllib.loads(files(__package__).joinpath("paper_numbers.toml").read_text(encoding="utf-8"))
"""The detection threshold, and by architecture the other results."""


def add_paper_numbers(tables: dict[str, pd.DataFrame], checkpoints: Checkpoints, attacks: Iterable[str]) -> None:
    """Add the paper's results to rows of the same kind.

    Parameters
    ----------
    tables
        The tables by name; those with ``paper_columns`` in `TABLES` are extended in place.
    checkpoints
        Of the networks in the tables.
    attacks
        The attacks with the paper's settings.
    """
    networks = {(run.model, run.training): checkpoint for run, checkpoint in checkpoints.items()}

    def numbers(row: Mapping[str, Any]) -> dict[str, float]:
        network, method = networks[row["model"], row["training"]], row.get("method")
        training = "adversarial" if network["adversarial"] else "standard"
        setting = training, row["pooling"], row["protocol"]
        if row["attack"] not in attacks or (method != "undefended" and setting != ("standard", "flatten", "paper")):
            return {}
        paper = PAPER.get(network["build"].get("architecture"), {})
        clean, adversarial = paper.get("accuracy", {}).get(f"{training}, {method}", (None, None))
        return {
            "paper_clean_accuracy": clean,
            "paper_adversarial_accuracy": adversarial,
            "paper_flagged_accuracy": paper.get("flagged_accuracy", {}).get(row["layers"]),
            "paper_detection_rate": paper.get("detection_rate"),
            "paper_threshold": PAPER["threshold"],
        }

    for name, table in tables.items():
        if columns := TABLES[name].get("paper_columns"):
            rows = map(numbers, table.to_dict("records"))
            tables[name] = table.join(pd.DataFrame(rows, columns=columns.split(), dtype=float))
