"""Artefacts: files that stages make, and whether they are up to date."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.types import Section
from featurepaths.experiment.stages import STAGES
from featurepaths.store.code_digest import artefact_digest, digest_of
from featurepaths.store.origin import Origin, Version
from featurepaths.store.provenance import check_files

once = lru_cache(maxsize=None)


@dataclass(frozen=True, eq=False)
class Artefact:
    """A file that a call of a stage makes, with the origin that it will carry.

    Parameters
    ----------
    stage
        Name of a module of `featurepaths.stages`.
    path
        The path of the file.
    name
        What its origin calls it: the path below the run, without suffix.
    settings
        The stage's settings.
    output
        The option of the stage that names it.
    inputs
        The artefacts it is made from, by option, in the order of the stage's declaration.
    folder
        The run's folder, or the experiment's.
    names
        The value of each name in the path that the stage declares.
    run
        The run that it belongs to, empty if it belongs to the whole experiment.
    gathered
        The artefact that it is a shard of, if it is one.
    """

    stage: str
    path: Path
    name: str
    settings: Section
    output: str
    inputs: Mapping[str, Sequence["Artefact"]]
    folder: Path
    names: Mapping[str, str]
    run: str = ""
    gathered: "Artefact | None" = None

    @cached_property
    def job_digest(self) -> str:
        """The cumulative digest of the call, the same for everything that it makes, shards included."""
        if self.gathered is not None:
            return self.gathered.job_digest
        return digest_of(self.stage, self.settings.recipe(), [source.digest for source in self.sources])

    @cached_property
    def digest(self) -> str:
        """The cumulative digest of the artefact, as its file holds it."""
        return artefact_digest(self.job_digest, self.name)

    @cached_property
    def up_to_date(self) -> bool:
        """Whether the file has this digest and was made from the current contents of its inputs, or is missing.

        A missing file is made if something needs it. Files that it vouches for, such as tables, have to be whole as
        well.
        """
        if self.gathered is not None and self.gathered.is_there and self.gathered.up_to_date:
            return True  # a shard that is left over
        if not self.is_there:
            return True
        return self.version is not None and not self.from_other_contents

    @cached_property
    def is_there(self) -> bool:
        """Whether there is such a file."""
        return self.path.exists()

    @cached_property
    def version(self) -> Version | None:
        """The version of the file; None if it is missing, damaged, or of another format or recipe."""
        try:
            version = check_files(self.path) if self.is_there else None
        except FeaturePathsError:
            return None
        return version if version and version.origin.digest == self.digest else None

    @property
    def sources(self) -> list["Artefact"]:
        """All inputs, in the order of the stage's arguments."""
        return [artefact for artefacts in self.inputs.values() for artefact in artefacts]

    @cached_property
    def from_other_contents(self) -> bool:
        """Whether the contents of the inputs have changed since the file was made, or will soon.

        The same recipe produces other bytes on another processor. Inputs without a version are unknown: if they differ
        when they are made again, the next run of the workflow makes this file again.
        """
        if any(source.from_other_contents for source in self.sources):
            return True
        if self.version is None:
            return False
        return any(
            source.version.contents != contents
            if source.version
            else source.run == self.run and source.differs_from(self.version.origin)
            for source, contents in zip(self.sources, self.version.origin.inputs, strict=True)
        )

    def differs_from(self, origin: Origin) -> bool:
        """Whether the inputs of this missing artefact differ from those in `origin`, of an artefact made from it."""
        return any(
            origin.ancestors.get(f"{source.name}{source.path.suffix}", str(source.version)) != str(source.version)
            if source.version
            else source.differs_from(origin)
            for source in self.sources
        )

    def shard(self, item: str) -> "Artefact":
        """Return a shard of it, such as ``2-of-4``: a file with a part of its rows, made by the same call."""
        path = self.path.with_suffix("") / f"{item}{self.path.suffix}"
        return replace(self, path=path, name=f"{self.name}/{item}", gathered=self)

    @property
    def params(self) -> dict[str, str]:
        """The settings as JSON and the job's digest, as the stage takes them."""
        return {"settings": self.settings.model_dump_json(), "digest": self.job_digest}


def arguments_of(artefacts: Sequence[Artefact]) -> list[str]:
    """Return the arguments of the call of a stage that makes all of these artefacts, and all else that it makes."""
    first = artefacts[0]
    words = [word for name, value in first.params.items() for word in (f"--{name}", value)]
    for option, sources in first.inputs.items():
        words += [f"--{option}", *(str(source.path) for source in sources)]
    stage = STAGES[first.stage]
    for option, file in stage.outputs.items():
        paths = [artefact.path for artefact in artefacts if artefact.output == option]
        if not paths and not stage.several:  # an additional file without an origin
            paths = [first.folder / file.format_map(first.names)]
        words += [f"--{option}", *map(str, paths)]
    return words


def steps_of(artefacts: Sequence[Artefact]) -> list[str]:
    """Return the calls that make these artefacts one after the other, as `featurepaths.stages.batch` takes them."""
    calls: dict[tuple[str, str], list[Artefact]] = {}
    for artefact in artefacts:
        calls.setdefault((artefact.stage, artefact.job_digest), []).append(artefact)
    return [json.dumps([stage, arguments_of(outputs)]) for (stage, _), outputs in calls.items()]
