"""Contents of the explorer's page: pictures and records of the shown images, read from the artefacts of all runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featurepaths.data.splits import Split, open_split
from featurepaths.errors import FeaturePathsError
from featurepaths.paths.records import open_pair, open_paths
from featurepaths.report.explorer import pictures, records
from featurepaths.report.explorer.choice import most_attacked, room
from featurepaths.store.hdf5 import as_slice, open_hdf5
from featurepaths.store.jsonfile import read_json

CLEAN, WORST = "clean", "adaptive"
"""Names of the versions of an image that no oblivious attack made: the image itself, and its adaptive worst case."""


@dataclass(frozen=True)
class Sources:
    """The artefacts of all runs that the page shows.

    `attacks` are those on test images; `clean` and `adversarial` their feature paths; `scores` and `answers` the
    records of detection and recognition, `detection` and `recognition` their metrics, all in the order of
    `adversarial`; `adaptive` all adaptive attacks.
    """

    data: Path
    attacks: Sequence[Path]
    clean: Sequence[Path]
    adversarial: Sequence[Path]
    detection: Sequence[Path]
    scores: Sequence[Path]
    recognition: Sequence[Path]
    answers: Sequence[Path]
    adaptive: Sequence[Path]


def contents(sources: Sources, limit: int | None = None) -> dict[str, Any]:
    """Return all that the page shows, as JSON: of `limit` images, or of as many as fit even if they are noise."""
    with open_split(sources.data, "test") as split:
        attacked = ([index_of(path) for path in paths] for paths in (sources.adaptive, sources.attacks))
        limit = limit or room(*sizes_of(sources, split.shape[1:], len(split.class_names)))
        shown = Shown.of(split, most_attacked(split.indices, *attacked, limit))
        networks = {path.parts[-3]: {"sheets": {}, "poolings": {}} for path in sources.attacks}
        for path in sources.attacks:
            networks[path.parts[-3]]["sheets"] |= shown.attack_sheets(path)
        for path in sources.clean:
            run, pooling, _ = about(path)
            with open_paths(path) as clean:
                networks[run]["poolings"][pooling] = {"examples": {}, **records.bands(clean, len(split.class_names))}
        clean_of = {about(path)[:2]: path for path in sources.clean}
        for evaluation in evaluations_of(sources):
            run, pooling, _ = evaluation.of
            described = networks[run]["poolings"][pooling]
            described["protocol"] = evaluation.protocol
            examples = shown.examples(clean_of[run, pooling], evaluation)
            described["examples"] |= examples | described["examples"]  # the clean images of the first attack stay
        for path in sources.adaptive:
            network = networks[path.parts[-3]]
            examples = network["poolings"][path.stem]["examples"]
            sheet, worst = shown.worst_case(path, examples[CLEAN]["thresholds"])
            layers = {key: examples[CLEAN][key] for key in ("scoring", "voting")}
            network["sheets"][f"{WORST}.{path.stem}"], examples[WORST] = sheet, worst | layers
        return {
            "page": shown.page | {"total": len(split), "experiment": sources.data.parent.name},
            "classes": split.class_names,
            "labels": shown.labels.tolist(),
            "index": shown.index.tolist(),
            "unit": records.SIMILARITY_UNIT,
            "middle": pictures.MIDDLE,
            "clean": pictures.sheet(shown.clean),
            "networks": networks,
        }


def sizes_of(sources: Sources, shape: tuple[int, ...], classes: int) -> tuple[int, int]:
    """Return bytes before base64: of the pictures and records of all versions of an image [H, W, C], and of all bands.

    Pictures are those of the clean image, of all attacks and stopping rules, and of worst cases. An image's row and
    class in the data set take up to 16 characters.
    """
    of_runs, examples = {}, 0
    for evaluation in evaluations_of(sources):
        with open_hdf5(evaluation.adversarial) as file:
            size = file["similarity"].shape[1], len(evaluation.thresholds)
        of_runs[evaluation.of[:2]] = size
        examples += records.bytes_of_example(*size)
    examples += sum(records.bytes_of_example(*size) for size in of_runs.values())  # of clean images
    for path in sources.adaptive:
        with open_hdf5(path) as file:
            examples += records.bytes_of_worst_case(*of_runs[path.parts[-3], path.stem], len(file["attacks"]))
    rules = len({(run, attacked) for run, _, attacked in map(about, sources.adversarial)})
    versions = 1 + rules + len(sources.adaptive)
    bands = sum(records.bytes_of_bands(layers, classes) for layers, _ in of_runs.values())
    return 16 + versions * (pictures.values_of(shape) + 4) + examples, bands


def index_of(path: Path) -> np.ndarray:
    """Return the rows of the data set that an attack was run on."""
    with open_hdf5(path) as file:
        return file["index"][:]


def about(path: Path) -> tuple[str, str, str]:
    """Return the run, the pooling and ``<attack>.<stopping_rule>`` of ``<run>/<kind>/<pooling>/<name>.<suffix>``."""
    return path.parts[-4], path.parts[-2], path.stem.partition(".")[2]


@dataclass(frozen=True)
class Evaluation:
    """One attack and stopping rule `of` a run and pooling: its examples' paths, and the artefacts that evaluate it."""

    of: tuple[str, str, str]
    adversarial: Path
    detection: Mapping[str, Any]
    scores: Path
    recognition: Mapping[str, Any]
    answers: Path

    @property
    def protocol(self) -> str:
        """The protocol whose thresholds and voting layers the page shows: held-out, where there is one."""
        return "held-out" if "held-out" in self.detection["protocols"] else "paper"

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds by the method that set them."""
        measured = self.detection["protocols"][self.protocol]["at_threshold"]
        return {method: at["threshold"] for method, at in measured.items()}

    @property
    def layers(self) -> dict[str, list[int]]:
        """The layers of the score, and those that vote."""
        scoring, voting = (each["protocols"][self.protocol]["layers"] for each in (self.detection, self.recognition))
        return {"scoring": scoring, "voting": voting}


def evaluations_of(sources: Sources) -> Iterator[Evaluation]:
    """Yield the evaluation of every run, pooling, attack and stopping rule.

    Raises
    ------
    FeaturePathsError
        If the artefacts are not listed in the same order.
    """
    kinds = sources.adversarial, sources.detection, sources.scores, sources.recognition, sources.answers
    for paths in zip(*kinds, strict=True):
        (of, *others) = {about(path) for path in paths}
        if others:
            raise FeaturePathsError(f"{', '.join(map(str, paths))} are of different attacks. Give all in one order.")
        adversarial, detection, scores, recognition, answers = paths
        yield Evaluation(of, adversarial, read_json(detection), scores, read_json(recognition), answers)


@dataclass(frozen=True)
class Shown:
    """The test images that the page shows: rows `index` [N] of the data set, `labels` [N] and pictures `clean`."""

    index: np.ndarray
    labels: np.ndarray
    clean: np.ndarray
    page: Mapping[str, Any]

    @classmethod
    def of(cls, split: Split, positions: np.ndarray) -> "Shown":
        """Return the images at ascending positions of the test images."""
        height, width, channels = split.shape[1:]
        clean = pictures.thumbnails(split[positions])
        page = {
            "shown": len(positions),
            "height": clean.shape[1],
            "width": clean.shape[2],
            "factor": pictures.factor_of(height, width),
            "size": [height, width, channels],
        }
        return cls(split.indices[positions], split.labels[positions], clean, page)

    def attack_sheets(self, path: Path) -> dict[str, Any]:
        """Return the pictures of an attack's examples by ``<attack>.<stopping_rule>``."""
        with open_hdf5(path) as file:
            rows, positions = records.matching_rows(file["index"][:], self.index)
            groups = {name: group for name, group in file.items() if "adversarial" in getattr(group, "keys", dict)()}
            images = {f"{path.stem.partition('.')[2]}.{rule}": group["adversarial"] for rule, group in groups.items()}
            return {name: self._sheet(adversarial, rows, positions) for name, adversarial in images.items()}

    def worst_case(self, path: Path, thresholds: Mapping[str, float]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the pictures of the adaptive worst case, and its records."""
        with open_hdf5(path) as file:
            rows, positions = records.matching_rows(file["index"][:], self.index)
            sheet = self._sheet(file["worst/adversarial"], rows, positions)
            return sheet, records.worst_case(file, rows, positions, thresholds)

    def examples(self, clean: Path, evaluation: Evaluation) -> dict[str, Any]:
        """Return the records of an attack's examples, and of the clean images that they were made of."""
        with (
            open_pair(clean, evaluation.adversarial) as pair,
            open_hdf5(evaluation.scores) as scores,
            open_hdf5(evaluation.answers) as answers,
        ):
            versions = {}
            for name, images, paths in zip((CLEAN, evaluation.of[2]), ("clean", "adversarial"), pair, strict=True):
                rows, positions = records.matching_rows(paths.index, self.index)
                answered = answers[evaluation.protocol]
                versions[name] = records.example(
                    paths.take(rows),
                    positions,
                    scores[evaluation.protocol][f"{images}_score"][:][rows],
                    evaluation.thresholds,
                    {method: answered[method][images][:][rows] for method in evaluation.thresholds},
                )
                versions[name] |= evaluation.layers
            return versions

    def _sheet(self, adversarial: Any, rows: np.ndarray, positions: np.ndarray) -> dict[str, Any]:
        """Return the pictures of adversarial images at `rows`, shown at `positions`, and the factor of differences."""
        levels = pictures.thumbnails(pictures.as_levels(adversarial[as_slice(rows)]))
        factor = pictures.magnification(self.clean[positions], levels)
        return pictures.sheet(levels) | {"positions": records.packed(positions.astype(np.int32)), "magnified": factor}
