"""A run: one trained or pretrained network, and its name."""

from typing import NamedTuple


class Run(NamedTuple):
    """A model, how it was trained, and the training seed; as text ``<model>-<training>-s<seed>``, its folder's name."""

    model: str
    training: str
    seed: int

    def __str__(self) -> str:
        return f"{self.model}-{self.training}-s{self.seed}"

    @classmethod
    def parse(cls, text: str) -> "Run":
        """Return the run with this name."""
        model, training, seed = text.split("-")
        return cls(model, training, int(seed.removeprefix("s")))
