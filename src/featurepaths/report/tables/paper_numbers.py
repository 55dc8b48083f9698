"""The paper's own results on CIFAR-10, and the columns that show them beside measured ones. Rates are fractions."""

import math
from collections.abc import Iterable

import pandas as pd

from featurepaths.report.results import Run

ACCURACY = {
    ("resnet20", "standard", "undefended"): (0.9203, 0.0491),
    ("resnet20", "adversarial", "undefended"): (0.7764, 0.5294),
    ("resnet20", "standard", "feature paths"): (0.8277, 0.4417),
    ("resnet18", "standard", "undefended"): (0.9224, 0.0490),
    ("resnet18", "adversarial", "undefended"): (0.7848, 0.5074),
    ("resnet18", "standard", "feature paths"): (0.8001, 0.4610),
}
"""Clean and adversarial accuracy by architecture, training and method (Tables 2 and 4)."""

FLAGGED_ACCURACY = {
    ("resnet20", "2+3"): 0.3716,
    ("resnet20", "2+4"): 0.3626,
    ("resnet20", "3+4"): 0.43,
    ("resnet20", "2+3+4"): 0.4417,
    ("resnet18", "2+3"): 0.3794,
    ("resnet18", "2+4"): 0.3847,
    ("resnet18", "3+4"): 0.4512,
    ("resnet18", "2+3+4"): 0.4610,
}
"""Accuracy on flagged adversarial images by architecture and voting layers (Table 3)."""

DETECTION_RATE = {"resnet20": 0.8028, "resnet18": 0.828}
"""Share of adversarial images detected, by architecture (sections 3.1.1 and 3.2.1)."""

THRESHOLD = 0.6855
"""The detection threshold of both networks (section 3)."""


def add_paper_numbers(tables: dict[str, pd.DataFrame], runs: Iterable[Run], attacks: Iterable[str]) -> None:
    """Add the paper's results to rows of the same kind.

    Parameters
    ----------
    tables
        The tables ``accuracy``, ``recognition``, ``combinations`` and ``detection``; changed in place.
    runs
        The networks of the tables.
    attacks
        The attacks with the paper's settings.
    """
    by_network = {(run.model, run.training): run for run in runs}

    def kind(row: pd.Series) -> tuple[str | None, str]:
        run = by_network[row["model"], row["training"]]
        return run.architecture, "adversarial" if run.checkpoint["adversarial"] else "standard"

    def comparable(row: pd.Series) -> bool:
        same = row["pooling"] == "flatten" and row["protocol"] == "paper" and row["attack"] in attacks
        return same and kind(row)[1] == "standard"

    def accuracy(row: pd.Series, which: int) -> float:
        undefended = row["method"] == "undefended" and row["attack"] in attacks
        numbers = ACCURACY.get((*kind(row), row["method"])) if undefended or comparable(row) else None
        return numbers[which] if numbers else math.nan

    def flagged_accuracy(row: pd.Series) -> float:
        return FLAGGED_ACCURACY.get((kind(row)[0], row["layers"]), math.nan) if comparable(row) else math.nan

    def detection_rate(row: pd.Series) -> float:
        return DETECTION_RATE.get(kind(row)[0], math.nan) if comparable(row) else math.nan

    columns = {
        ("accuracy", "recognition"): {
            "paper_clean_accuracy": lambda row: accuracy(row, 0),
            "paper_adversarial_accuracy": lambda row: accuracy(row, 1),
        },
        ("combinations",): {"paper_flagged_accuracy": flagged_accuracy},
        ("detection",): {
            "paper_detection_rate": detection_rate,
            "paper_threshold": lambda row: THRESHOLD if comparable(row) else math.nan,
        },
    }
    for names, functions in columns.items():
        for name in names:
            for column, function in functions.items():
                tables[name][column] = [float(function(row)) for _, row in tables[name].iterrows()]
