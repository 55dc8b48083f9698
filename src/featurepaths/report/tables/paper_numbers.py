"""The paper's own results on CIFAR-10, and the columns that show them beside measured ones. Rates are fractions."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from featurepaths.report.results import Checkpoints

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

COLUMNS = {
    "accuracy": ["paper_clean_accuracy", "paper_adversarial_accuracy"],
    "recognition": ["paper_clean_accuracy", "paper_adversarial_accuracy"],
    "combinations": ["paper_flagged_accuracy"],
    "detection": ["paper_detection_rate", "paper_threshold"],
}
"""The columns to add, by table."""


def add_paper_numbers(tables: dict[str, pd.DataFrame], checkpoints: Checkpoints, attacks: Iterable[str]) -> None:
    """Add the paper's results to rows of the same kind.

    Parameters
    ----------
    tables
        The tables of `COLUMNS`; extended in place.
    checkpoints
        Of the networks in the tables.
    attacks
        The attacks with the paper's settings.
    """
    networks = {(run.model, run.training): checkpoint for run, checkpoint in checkpoints.items()}

    def numbers(row: Mapping[str, Any]) -> dict[str, float]:
        network, method = networks[row["model"], row["training"]], row.get("method")
        architecture = network["build"].get("architecture")  # None: an external network
        training = "adversarial" if network["adversarial"] else "standard"
        setting = training, row["pooling"], row["protocol"]
        if row["attack"] not in attacks or (method != "undefended" and setting != ("standard", "flatten", "paper")):
            return {}
        clean, adversarial = ACCURACY.get((architecture, training, method), (None, None))
        return {
            "paper_clean_accuracy": clean,
            "paper_adversarial_accuracy": adversarial,
            "paper_flagged_accuracy": FLAGGED_ACCURACY.get((architecture, row["layers"])),
            "paper_detection_rate": DETECTION_RATE.get(architecture),
            "paper_threshold": THRESHOLD,
        }

    for name, columns in COLUMNS.items():
        rows = map(numbers, tables[name].to_dict("records"))
        tables[name] = tables[name].join(pd.DataFrame(rows, columns=columns, dtype=float))
