"""External inputs of an experiment: data, adversarial images, and the user's networks.

Every run of the workflow imports this module, so the readers of files are imported only where there are such files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featurepaths.data.size import Contents, DataSize
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.runtime.entry_points import factory_digest
from featurepaths.store.fingerprints import digest_of_names, last_look, look_at_files

FOLDER = Path(".snakemake")
"""Cache of the fingerprints of external inputs, so that files are not read again each time."""
READ_TO_KNOW = ("torchvision", "factory")
"""Sources whose size is known once they are read."""


@dataclass(frozen=True)
class ExternalInputs:
    """Digests of all external inputs, and the size of the data.

    `data` is that of a data set whose images, or the code that makes them, are the user's; `attacks` those of
    precomputed adversarial images, by attack and split; `networks` those of the ``code`` and ``weights``,
    that is all files, of pretrained networks, by model.
    """

    size: DataSize = field(default_factory=DataSize)
    data: str | None = None
    attacks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)


def fingerprint_inputs(experiment: Experiment, *, again: bool = True) -> ExternalInputs:
    """Return the external inputs of an experiment; without `again` those of the last call, where these are known.

    Raises
    ------
    FeaturePathsError
        If a file or a module is missing, or cannot be used.
    """
    size, data = _data(experiment, again)
    return ExternalInputs(size, data, _attacks(experiment, again), _networks(experiment, again))


def _data(experiment: Experiment, again: bool) -> tuple[DataSize, str | None]:
    data = experiment.data
    side = {"height": data.size, "width": data.size} if getattr(data, "size", None) else {}
    match data.source:
        case "folder" | "arrays" | "parquet":
            contents = _images(data, FOLDER / f"images.{experiment.name}.json", again)
            return replace(contents, **side), contents.digest
        case "digits":
            return DataSize(1797, 10, **side), None
        case "factory":
            return DataSize(**side), factory_digest(data.factory)
        case "torchvision":
            return DataSize(**side), None
        case "cifar10" | "cifar100":
            return DataSize(classes={"cifar10": 10, "cifar100": 100}[data.source]), None


def _images(data: Any, memory: Path, again: bool) -> Contents:
    if not again and (contents := last_look(memory)):
        return Contents(**contents)
    from featurepaths.data.sources import contents_of_source

    return contents_of_source(data, memory)


def _attacks(experiment: Experiment, again: bool) -> Mapping[str, Mapping[str, str]]:
    memory = FOLDER / f"attacks.{experiment.name}.json"
    files = {name: attack.files for name, attack in experiment.attacks.items() if attack.method == "precomputed"}
    if not files:
        return {}
    from featurepaths.attacks.precomputed.files import digests_of_attacks

    return (not again and last_look(memory)) or digests_of_attacks(files, memory)


def _networks(experiment: Experiment, again: bool) -> Mapping[str, Mapping[str, str | None]]:
    memory = FOLDER / f"weights.{experiment.name}.json"
    pretrained = {name: model for name in experiment.models if (model := experiment.pretrained(name))}
    of_models = {name: of_model for name, model in pretrained.items() if (of_model := model.external_files())}
    files = {str(file): file for of_model in of_models.values() for file in of_model.values()}

    def by_model(digests: Mapping[str, str]) -> dict[str, str]:
        return {
            name: digest_of_names({key: digests[str(file)] for key, file in of_model.items()})
            for name, of_model in of_models.items()
        }

    digests = (not again and last_look(memory)) or look_at_files(files, by_model, "weights", memory) if files else {}
    return {
        name: {"code": factory_digest(model.factory), "weights": digests.get(name)}
        for name, model in pretrained.items()
    }
