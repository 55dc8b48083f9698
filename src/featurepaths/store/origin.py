"""The provenance of an artefact: its name, recipe, inputs and ancestors."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Origin:
    """The provenance of an artefact.

    Parameters
    ----------
    name
        Its name within its run, such as ``features/flatten/test``.
    digest
        The cumulative digest of its recipe.
    ancestors
        The version of each ancestor by its name with suffix, such as ``checkpoint.safetensors``: see `Version`.
    inputs
        The checksum of each input's content, in the order of the stage's arguments.
    """

    name: str
    digest: str
    ancestors: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[str] = ()

    @property
    def key(self) -> str:
        """A digest of the recipe and the contents of the inputs; only work with the same key is resumed."""
        return hashlib.sha256(json.dumps([self.digest, *self.inputs]).encode()).hexdigest()[:20]

    @property
    def pooling(self) -> str | None:
        """The pooling in the name of features and artefacts derived from them; None for other artefacts."""
        return next((part for part in self.name.split("/")[1:2] if part in ("flatten", "mean")), None)


class Version(NamedTuple):
    """The version of an artefact on disk: the origin that it states, and the CRC-32 of its content."""

    origin: Origin
    contents: str

    def __str__(self) -> str:
        return f"{self.origin.digest}.{self.contents}"
