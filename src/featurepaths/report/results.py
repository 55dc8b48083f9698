"""Results of the experiment as the report reads them: the contents of artefacts, and what each is about."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurepaths.experiment.run import Run
from featurepaths.store.jsonfile import read_description, read_json

Checkpoints = Mapping[Run, Mapping[str, Any]]
"""The description in every run's checkpoint."""


@dataclass(frozen=True)
class Result:
    """The content of an artefact of one network, and its subject; None for names that it does not depend on."""

    run: Run
    content: Mapping[str, Any]
    pooling: str | None = None
    detector: str | None = None
    attack: str | None = None
    stopping_rule: str | None = None
    threat: str = "oblivious"

    @property
    def keys(self) -> dict[str, Any]:
        """The columns that identify its subject."""
        return self.run._asdict() | {
            name: value for name, value in vars(self).items() if name not in ("run", "content")
        }


def read_results(paths: Iterable[Path]) -> list[Result]:
    """Read artefacts ``<run>/<kind>/<pooling>.json`` or ``<run>/<kind>/<pooling>/<name>.json``.

    The name is that of a stage or ``<detector>.<attack>.<stopping_rule>``.
    """
    results = []
    for path in paths:
        content = read_json(path)
        _, pooling, *names = content["origin"]["name"].split("/")
        run = Run.parse(path.parents[len(names) + 1].name)
        about = dict(zip(("detector", "attack", "stopping_rule"), ".".join(names).split("."), strict=False))
        results.append(Result(run, content, pooling, **about))
    return results


def read_checkpoints(paths: Iterable[Path]) -> Checkpoints:
    """Read the descriptions in ``<run>/checkpoint.safetensors``."""
    return {Run.parse(path.parent.name): read_description(path) for path in paths}


def counted_range(counts: Iterable[int], noun: str) -> str:
    """Return the least and the greatest of counts, or the only one, and the noun."""
    counts = sorted(counts)
    text = counted_noun(counts[-1], noun)
    return text if counts[0] == counts[-1] else f"{counts[0]:,} to {text}"


def counted_noun(count: int, noun: str) -> str:
    """Return a count and its noun, in the plural unless the count is one."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
