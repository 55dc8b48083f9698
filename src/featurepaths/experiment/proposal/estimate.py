"""How long an experiment takes on this machine, and how much disk it needs: estimates from a short measurement.

The time of a job is that of the passes of its images through the network, measured here, and that of its start. The
number of passes follows from the configuration and from the share of images that resist: searches attack only those.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from featurepaths.attacks.apgd import Budget, apgd
from featurepaths.attacks.norms import random_start
from featurepaths.attacks.objective import misclassification
from featurepaths.data.size import DataSize
from featurepaths.data.splits import SPLITS
from featurepaths.experiment.artefact import Artefact
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.external import ExternalInputs
from featurepaths.experiment.limits import machine_memory_mb
from featurepaths.experiment.passes import (
    passes_of_adaptive,
    passes_of_attack,
    passes_of_controls,
    passes_of_training,
)
from featurepaths.experiment.plan import Plan
from featurepaths.experiment.preview import Layer
from featurepaths.experiment.resources import BYTES_PER_SECOND, PRODUCTS_PER_SECOND, Estimator
from featurepaths.experiment.run import Run
from featurepaths.experiment.stages import STAGES
from featurepaths.runtime.blocks import BLOCK, to_tensor

STEPS, SECONDS = 5, 8
"""Steps of the attack that measures the speed, and about how long it may take."""
WITHOUT_TORCH = 0.5
"""Time of a job that runs no network, in starts of one that does."""
CHAIN = 10
"""Jobs of a run that wait for one another."""
RESISTING = {True: 0.5, False: 0.0}
"""Assumed share of images that resist: of a network that is not trained yet, with and without adversarial training."""


class Speed(NamedTuple):
    """Seconds of an image forward and backward, and forward only; of the start of a job; the share that resists.

    `lanes` is the number of jobs that run at once.
    """

    both: float
    forward: float
    start: float
    resisting: float
    lanes: int


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(network: nn.Module, images: np.ndarray, labels: np.ndarray, eps: float) -> Speed:
    """Attack some images, uint8 [n, H, W, C], with a few steps of AutoPGD, and measure the time.

    Jobs run on a GPU if there is one, or else on one thread. There the time is that of the processor, which depends
    less on other work on the machine.
    """
    gpus, threads = torch.cuda.device_count(), torch.get_num_threads()
    device, clock = torch.device("cuda" if gpus else "cpu"), time.monotonic if gpus else time.process_time
    few = min(4, len(images))
    torch.set_num_threads(1)
    try:
        objective = misclassification(network.to(device).eval().requires_grad_(False), "ce")

        def attack(count: int, steps: int) -> tuple[float, float]:
            """Return the seconds that an attack on `count` images takes, and the share that resists it."""
            clean, truth = to_tensor(images[:count], device), torch.from_numpy(labels[:count]).to(device)
            first, begin = random_start(clean, np.arange(count), eps, "linf", 0), clock()
            search = apgd(objective, clean, truth, first, Budget(eps, iterations=steps), stopping_rules=["max-loss"])
            resisting = float((search.first_fooled_step < 0).float().mean())  # waits for the GPU
            return clock() - begin, resisting

        attack(few, 1)
        seconds, _ = attack(few, 1)  # two passes, of which one is backward as well
        count = int(np.clip(few * SECONDS / (STEPS + 1) / seconds, few, min(BLOCK, len(images))))
        seconds, resisting = attack(count, STEPS)
        clean, begin = to_tensor(images[:count], device), clock()
        with torch.no_grad():
            network(clean).cpu()
        forward = (clock() - begin) / count
    finally:
        torch.set_num_threads(threads)
        network.to("cpu")
    both = max(seconds / count - forward, forward) / STEPS  # the last pass is forward only
    return Speed(both, forward, _start(), resisting, gpus or cores())


def with_memory(speed: Speed, experiment: Experiment, size: DataSize) -> Speed:
    """Return the speed with as many lanes as jobs of attacks fit into this machine's memory: Snakemake starts no more.

    A job counts with what rules/resources.smk requests for it.
    """
    estimator = Estimator(experiment, size)
    runs = [str(Run(model, "any", 0)) for model in experiment.models]
    mb = max(estimator.attack(run, attack, gpu=False).mb for run in runs for attack in experiment.attacks)
    return speed._replace(lanes=max(1, min(speed.lanes, machine_memory_mb() // mb)))


def _start() -> float:
    """Return the seconds of the processor that the start of a job takes that runs a network."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import torch, h5py, pydantic"], check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def seconds_of(
    experiment: Experiment, counts: Mapping[str, int], size: DataSize, layers: Sequence[Layer], speed: Speed
) -> float:
    """Return about how many seconds an experiment with one network takes on this machine, if nothing else runs.

    `counts` is the number of images of each split.
    """
    plan = Plan(
        experiment, ExternalInputs(networks={model: {"code": "", "weights": None} for model in experiment.models})
    )
    starts = Counter[str]()
    for stage, run, *_ in {(artefact.stage, artefact.run, *_names_of_job(artefact)) for artefact in plan.everything()}:
        starts[run] += speed.start * (1 if STAGES[stage].network else WITHOUT_TORCH)
    values = max(sum(layer.size(pooling) for layer in layers) for pooling in plan.poolings)
    total, longest, shards = starts[""], 0.0, min(experiment.shards.attacks, speed.lanes)
    for run in plan.runs:
        work = _Work(experiment, counts, size.classes, values, speed)
        if run in plan.trained:
            adversarial = experiment.training[Run.parse(run).training].adversary is not None
            work = work._replace(speed=speed._replace(resisting=RESISTING[adversarial]))
        split, whole = work.attacks() + work.adaptive(), work.training(run) + work.features() + work.controls()
        total += split + whole + starts[run] + 2 * shards * speed.start
        longest = max(longest, split / shards + whole + CHAIN * speed.start)
    return max(total / speed.lanes, longest + starts[""])


class _Work(NamedTuple):
    """The seconds of a run's jobs, without their starts; `values` are those of an image's features."""

    experiment: Experiment
    counts: Mapping[str, int]
    classes: int
    values: int
    speed: Speed

    def training(self, run: str) -> float:
        model, training, _ = Run.parse(run)
        if self.experiment.pretrained(model):
            return 0
        options = self.experiment.training[training]
        return passes_of_training(options) * self.counts["train"] * self.speed.both

    def attacks(self) -> float:
        passes = sum(
            passes_of_attack(attack, self.classes) * sum(self._attacked(attack.max_images))
            for attack in self.experiment.attacks.values()
        )
        return passes * self.speed.both

    def features(self) -> float:
        attacks = self.experiment.attacks.values()
        attacked = sum(len(attack.stopping_rule) * sum(self._attacked(attack.max_images)) for attack in attacks)
        clean = sum(self.counts.values()) * (3 if self.experiment.features.storage == "stream" else 1)
        return (clean + attacked) * (self.speed.forward + 4 * self.values / BYTES_PER_SECOND)

    def adaptive(self) -> float:
        adaptive, detectors = self.experiment.adaptive, len(self.experiment.detectors)
        if adaptive is None:
            return 0
        passes = passes_of_adaptive(adaptive, detectors, self.classes, self.speed.resisting)
        return self._searching(passes, self._tested(adaptive.max_images))

    def controls(self) -> float:
        adaptive = self.experiment.adaptive
        if adaptive is None or adaptive.controls is None:
            return 0
        passes = passes_of_controls(adaptive, adaptive.controls, self.classes, self.speed.resisting)
        return self._searching(passes, min(adaptive.controls.max_images, self._tested(adaptive.max_images)))

    def _searching(self, passes: float, images: int) -> float:
        """Seconds of passes of images forward and backward through the network and the defences of all poolings."""
        seconds = self.speed.both + self.values * self.classes / PRODUCTS_PER_SECOND
        return len(self.experiment.adaptive_poolings) * passes * images * seconds

    def _attacked(self, most: int | None) -> list[int]:
        splits = [self.counts[split] for split in ("calibration", "test")]
        return [min(count, most or count) for count in splits]

    def _tested(self, most: int | None) -> int:
        _, of_the_attack = self._attacked(self.experiment.attacks[self.experiment.adaptive.attack].max_images)
        return min(of_the_attack, most or of_the_attack)


def _names_of_job(artefact: Artefact) -> list[str]:
    """Return the names of an artefact that tell its job from others: one job makes all poolings, and clean features."""
    names = artefact.names.items()
    return [name for key, name in names if key != "pooling" and not (key == "images" and name in SPLITS)]
