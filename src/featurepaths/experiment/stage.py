"""The declaration of a stage: its settings, its inputs, the artefacts it makes and how it runs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from featurepaths.experiment.config.types import Section

WILDCARDS = {
    "run": r"[A-Za-z0-9_]+-[A-Za-z0-9_]+-s\d+",
    "pooling": "flatten|mean",
    "split": "train|calibration|test",
    "attack": "[A-Za-z0-9_]+",
    "attacked": r"[A-Za-z0-9_]+\.(?:first-success|last-success|max-loss|returned)",
    "calibration": "[A-Za-z0-9_.-]+",
    "images": "[A-Za-z0-9_.-]+",
    "shard": r"\d+-of-\d+",
}
"""The text that each name in a path may be, as a regular expression."""


OPTIONAL, ONE_OR_MORE, ANY_NUMBER = "?", "+", "*"


class Input(NamedTuple):
    """Files that a stage reads: their description, and their number in argparse's terms; None for one."""

    help: str
    number: str | None = None


@dataclass(frozen=True)
class Stage:
    """One stage.

    Parameters
    ----------
    outputs
        The path below its run's folder of each output, by option.
    inputs
        Each input by option, in the order in which digests and provenance list them.
    settings
        The class of its settings.
    keys
        The sections and keys of the configuration that its settings are taken from; its rule names the same.
    options
        Further options that change no result, by name, with their arguments of argparse.
    network
        Whether it runs a network, and so has ``--device``.
    sharded
        Whether its work can be split, by ``--shard``.
    several
        Whether one call writes several files per output option.
    """

    outputs: Mapping[str, str]
    inputs: Mapping[str, Input] = field(default_factory=dict)
    settings: type[Section] = Section
    keys: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    network: bool = False
    sharded: bool = False
    several: bool = False

    def names_in(self, option: str, path: Path) -> dict[str, str] | None:
        """Return what stands for each name in the path of an output; None if the path is not of its form."""
        form = self.outputs[option]
        if "{" not in form:
            return {}  # any file is permitted
        folder = "/".join(form[: form.index("{")].split("/")[:-1])
        ending = form.removeprefix(f"{folder}/")  # the folder above the first name is free
        pattern = re.sub(r"\\{(\w+)\\}", lambda name: f"(?P<{name[1]}>{WILDCARDS[name[1]]})", re.escape(ending))
        fits = re.fullmatch(pattern, "/".join(path.parts[-ending.count("/") - 1 :]))
        return fits.groupdict() if fits else None
