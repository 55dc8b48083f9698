"""Results of the experiment as the report reads them: a trained network, and a detector's metrics on one attack."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Run:
    """One network: its model and training in the configuration, its seed, and its checkpoint's description."""

    model: str
    training: str
    seed: int
    checkpoint: Mapping[str, Any]

    def __str__(self) -> str:
        """Return the name of the run's folder."""
        return f"{self.model}-{self.training}-s{self.seed}"

    @property
    def architecture(self) -> str | None:
        """The name of the built-in architecture, None for an external network."""
        return self.checkpoint["build"].get("architecture")

    @property
    def labels(self) -> dict[str, Any]:
        """The columns `model` and `training`."""
        return {"model": self.model, "training": self.training}

    def keys(self, pooling: str) -> dict[str, Any]:
        """Return the columns that identify the run and the pooling."""
        return {**self.labels, "pooling": pooling, "seed": self.seed}


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one detector on one attack and stopping rule, by protocol in `content`."""

    run: Run
    pooling: str
    detector: str
    attack: str
    stopping_rule: str | None
    content: Mapping[str, Any]
    threat: str = "oblivious"

    @property
    def attack_keys(self) -> dict[str, Any]:
        """The columns that identify the attack."""
        return {"attack": self.attack, "stopping_rule": self.stopping_rule, "threat": self.threat}


PoolingResults = Iterable[tuple[Run, str, Mapping[str, Any]]]
"""A run, a pooling, and the content of one of their artefacts."""


def counted_noun(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural unless the count is one."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
