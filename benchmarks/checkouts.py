"""A checkout that runs its own default experiment with its own Snakefile and code, beside another one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import seconds
from benchmarks.profile import kind_of, profiled, workflow

NEW_NAMES = {
    "keep": "stopping_rule", "tie": "tie_break", "images": "max_images", "targets": "n_targets",
    "only_survivors": "skip_defeated", "multiples": "eps_multiples", "queries": "n_queries",
}  # fmt: skip
"""Keys of the configuration at 1b1fbcf that have other names today."""
BUDGETS = ("seeds", "data", "models", "training", "attacks", "calibration", "features", "detectors")
ADAPTIVE_BUDGETS = ("max_images", "poolings", "iterations", "controls")
"""Keys whose values the new checkout takes from the old one where they differ: epochs, images, attacks and budgets. The
searches that `adaptive` consists of, its objectives, losses and targets, are each revision's: they are compared.
"""


class Side:
    """A checkout, its default configuration in today's names, and the folder of its experiments."""

    def __init__(self, checkout: Path, folder: Path):
        self.checkout, self.folder = checkout, folder
        config = yaml.safe_load((checkout / "config.yaml").read_text())
        self.names = {new: old for old, new in NEW_NAMES.items()} if "keep" in config["calibration"] else {}
        self.config: dict[str, Any] = renamed(config, NEW_NAMES)
        self.finished = self.folder_of(self.config)
        command = ["git", "rev-parse", "--short", "HEAD"]
        self.revision = subprocess.run(
            command, cwd=checkout, capture_output=True, text=True, check=False
        ).stdout.strip()

    def folder_of(self, config: dict) -> Path:
        """Return the folder in which an experiment is kept."""
        return self.folder / config["name"]

    def records(self, config: dict, network: str) -> Path:
        """Return the records of stage `adaptive` on a network."""
        return self.folder_of(config) / "results" / config["name"] / network / "adaptive/flatten.h5"

    def options(self, config: dict, *others: object) -> list[object]:
        """Return the options of `snakemake` for a configuration in today's names, which this checkout may not know."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{config['name']}.yaml"
        file.write_text(yaml.safe_dump(renamed(config, self.names), sort_keys=False))
        return ["--configfile", file, "--cores", 2, *others]

    def run(self, folder: Path, config: dict, *others: object) -> float:
        """Run Snakemake in a folder, and return its wall time."""
        return seconds(lambda: workflow(self.checkout, folder, *self.options(config, *others)))

    def finish(self) -> None:
        """Finish the default experiment, where it is not, and check that its jobs run this checkout's code."""
        profiled(self.checkout, self.finished, *self.options(self.config))

    def adaptive(self, config: dict, network: str) -> float:
        """Run stage `adaptive` on a network, whose inputs are finished once, and return its CPU seconds."""
        output, folder = self.records(config, network), self.folder_of(config)
        output.unlink(missing_ok=True)
        records = profiled(self.checkout, folder, *self.options(config, output.relative_to(folder)))
        (record,) = [record for record in records if "adaptive" in kind_of(record["command"])]
        return sum(record["seconds"].values())


def with_equal_budgets(old: Side, new: Side) -> tuple[Side, Side]:
    """Return both sides, the new one with the old one's epochs, images, attacks and budgets; print what differed."""
    equalise(old.config, new.config, BUDGETS)
    equalise(old.config["adaptive"], new.config["adaptive"], ADAPTIVE_BUDGETS, "adaptive.")
    return old, new


def equalise(old: dict, new: dict, keys: tuple[str, ...], where: str = "") -> None:
    """Give `new` the values that `old` has below some keys, and print those that differed."""
    for key in keys:
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            equalise(old[key], new[key], tuple(old[key]), f"{where}{key}.")
        elif key in old and old[key] != new.get(key):
            change = f"{old[key]} as in the old one, not {new.get(key)}"
            print(f"{where}{key} of the new checkout: {change}", file=sys.stderr)
            new[key] = old[key]


def renamed(config: Any, names: dict[str, str]) -> Any:
    """Return a configuration with other names of keys, at all depths."""
    if isinstance(config, dict):
        return {names.get(key, key): renamed(value, names) for key, value in config.items()}
    return config
