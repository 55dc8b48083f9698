"""What made an artefact: its name, recipe, inputs and ancestors."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Origin:
    """What made an artefact.

    Parameters
    ----------
    name
        Its name within its run, such as ``features/flatten/test``.
    digest
        The cumulative digest of its recipe.
    ancestors
        The version of each ancestor by its name with suffix, such as ``checkpoint.safetensors``: see `Version`.
    inputs
        The checksum of what each input contained, in the order of the stage's arguments.
    """

    name: str
    digest: str
    ancestors: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[str] = ()

    @property
    def key(self) -> str:
        """A digest of the recipe and of what the inputs contained: only work with the same one may be resumed."""
        return hashlib.sha256(json.dumps([self.digest, *self.inputs]).encode()).hexdigest()[:20]

    @property
    def pooling(self) -> str:
        """The pooling in the name of features and of what is made from them: ``flatten`` or ``mean``."""
        return self.name.split("/")[1]


class Version(NamedTuple):
    """What an artefact on the disk is: the origin that it states, and the CRC-32 of what it contains."""

    origin: Origin
    contents: str

    def __str__(self) -> str:
        return f"{self.origin.digest}.{self.contents}"
