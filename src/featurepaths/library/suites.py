"""The workflow's attacks on images in memory: without and with knowledge of a frozen defence, and their counts."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import h5py
import numpy as np
import torch
from tqdm import tqdm

from featurepaths.adaptive.run import adaptive_records, blocks_together
from featurepaths.adaptive.worst_case import Target
from featurepaths.attacks.apgd import Budget
from featurepaths.attacks.class_limits import check_losses
from featurepaths.attacks.objective import misclassification
from featurepaths.attacks.runner import Block, Records, autopgd_records, budget_of, run_blocks
from featurepaths.attacks.undefined import report_undefined
from featurepaths.defense.frozen import FrozenDefense
from featurepaths.detectors.base import Detector
from featurepaths.experiment.config.attacks import Attack, Ball
from featurepaths.experiment.config.evaluation import AdaptiveSearch
from featurepaths.experiment.config.settings import WorstCase
from featurepaths.experiment.searches import searches
from featurepaths.library.evaluation import Evaluation
from featurepaths.library.images import LoadedImages
from featurepaths.networks.warnings import are_probabilities
from featurepaths.runtime.blocks import blocks, joined, retry_smaller_on_oom
from featurepaths.statistics.evaluation import summarise

OBLIVIOUS = "apgd"
"""Name of the attack on the network alone."""
THRESHOLD = "calibrated"
"""The method of the defence's threshold, whichever its calibration used."""

Detectors = Mapping[str, tuple[Detector, float]]
"""Calibrated detectors by name, each with the unit of its score."""


def evaluate_images(
    defense: FrozenDefense,
    images: LoadedImages,
    attack: Attack,
    search: AdaptiveSearch,
    detectors: Detectors | None = None,
    *,
    progress: bool = True,
) -> Evaluation:
    """Attack a calibrated defence's network with `attack`, then all of it with `search`, and count what remains.

    Without `detectors` only the defence's own score is attacked by itself. Its unit is then its standard deviation
    over these images.
    """
    classes = len(defense.centroids[0])
    left_out = check_losses(search.losses, search.n_targets, classes)
    with searching():
        scores, doubts = _clean(defense, images)
        own = {defense.detector.name: (defense.detector, float(scores.std()) or 1.0)}
        target = Target(defense, defense, own if detectors is None else _on(defense.device, detectors))
        groups = -(-len(blocks(len(images))) // blocks_together(defense.device))
        total = groups * (len(list(searches(search, classes))) + len(target.detectors)) + len(blocks(len(images)))
        with tqdm(total=total, desc="attacks", disable=not progress, dynamic_ncols=True) as bar:
            oblivious = oblivious_records(defense, images, attack, report=partial(_advance, bar, OBLIVIOUS))
            examples = {f"{OBLIVIOUS}.{rule}": oblivious[f"{rule}/adversarial"] for rule in attack.stopping_rule}
            knowing = partial(
                adaptive_records,
                target=target,
                oblivious=examples,
                budget=_budget(attack, search, images),
                search=search,
                report=partial(_advance, bar),
            )
            records = attack_images(knowing, images, defense.device, together=blocks_together(defense.device))
    report_undefined(images.indices, oblivious["undefined"] | records["undefined"])
    adversarial = {**examples, "worst": records.pop("worst/adversarial")}
    records = {"labels": images.labels, "index": images.indices, **records}
    counts = _count(records, attack, search, defense.calibration.threshold, left_out)
    tensors = {name: torch.from_numpy(rows) for name, rows in adversarial.items()}
    return Evaluation(defense, counts, records, tensors, doubts)


def oblivious_records(
    defense: FrozenDefense, images: LoadedImages, attack: Attack, report: Callable[[], object] = lambda: None
) -> Records:
    """Attack a fitted defence's network alone, and return the records of `attacks.runner.autopgd_records`."""
    objective, budget = misclassification(defense.logits, attack.loss), _budget(attack, attack, images)
    attacked = partial(autopgd_records, objective=objective, budget=budget, stopping_rules=attack.stopping_rule)
    return attack_images(attacked, images, defense.device, report=report)


def attack_images(
    attack: Callable[[Block], Records],
    images: LoadedImages,
    device: torch.device,
    *,
    together: int = 1,
    report: Callable[[], object] = lambda: None,
) -> dict[str, np.ndarray]:
    """Return the records of an attack on all images, block by block; `report` is called after each."""
    rows, parts = blocks(len(images)), []
    run = partial(run_blocks, attack, images, device=device, together=together)
    for _, records in joined(retry_smaller_on_oom(run, rows), rows):
        parts.append(records)
        report()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@contextmanager
def searching() -> Iterator[None]:
    """Let gradients be computed, and a GPU's convolutions in float32 and repeatably, as in the workflow's jobs."""
    cudnn = torch.backends.cudnn
    repeatable = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
    with repeatable, torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def on_device(defense: FrozenDefense, device: torch.device | str | None) -> Iterator[None]:
    """Move a defence and its network to a device, None for the one they are on, and back when the block ends."""
    home = defense.device
    defense.to(device)
    try:
        yield
    finally:
        defense.to(home)


def _budget(attack: Attack, search: Attack | AdaptiveSearch, images: LoadedImages) -> Budget:
    return budget_of(attack, search, attack.seed, {"image_shape": images.shape[1:]}, torch.device("cpu"))


def _clean(defense: FrozenDefense, images: LoadedImages) -> tuple[np.ndarray, list[str]]:
    """Return the scores of clean images, float64 [N], and the doubts about the network's logits."""
    scores, probable = [], True
    with torch.no_grad():
        for rows in blocks(len(images)):
            block = Block.of(images, rows, defense.device)
            outputs = defense.model_outputs(block.clean)
            scores.append(defense.detector.score(outputs)[: block.count].cpu().numpy())
            probable &= are_probabilities(outputs.logits)
    return np.concatenate(scores), ["probabilities"] * probable


def _on(device: torch.device, detectors: Detectors) -> Detectors:
    return {name: (copy.deepcopy(detector).to(device), unit) for name, (detector, unit) in detectors.items()}


def _advance(bar: tqdm, name: str) -> None:
    bar.set_postfix_str(name, refresh=False)
    bar.update()


def _count(records: Records, attack: Attack, search: AdaptiveSearch, threshold: float, left_out: str) -> dict[str, Any]:
    """Return the counts of `featurepaths.statistics.evaluation.summarise`, of records in memory."""
    settings = WorstCase(attack=OBLIVIOUS, search=search, ball=attack.part(Ball))
    with h5py.File("records", "w", driver="core", backing_store=False) as file:
        for name, values in records.items():
            file[name] = values
        if left_out:
            file.attrs["left_out"] = left_out
        none = {name: {} for name in file["detectors"]}
        return summarise(file, settings, THRESHOLD, {THRESHOLD: threshold}, none)
