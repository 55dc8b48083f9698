"""Our adaptive attacks against other attackers, on the adversarially trained networks of a finished experiment."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torchattacks
from torch import Tensor

from benchmarks.measure import Result, ratio_of
from benchmarks.profile import children_seconds
from featurepaths import FeaturePathDefense
from featurepaths.defense.recognition import Calibration, decide
from featurepaths.experiment.artefact import arguments_of
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.plan import Plan
from featurepaths.experiment.run import Run
from featurepaths.paths.outputs import ModelOutputs
from featurepaths.runtime.blocks import to_tensor
from featurepaths.store.hdf5 import open_hdf5
from featurepaths.store.jsonfile import read_json

ROUNDS = 2
"""Rounds of our suite, before and after AutoAttack, which takes minutes and runs once."""
POOLING = "flatten"
RESTARTS, ITERATIONS = 2, 150


class Attacked(NamedTuple):
    """A defence and what it is attacked with; `standing` [N] are the images that our suite leaves."""

    defense: FeaturePathDefense
    images: Tensor
    labels: Tensor
    eps: float
    standing: Tensor


def measure(folder: Path) -> list[Result]:
    """Return the rows of every adversarially trained network of an experiment in `folder`, ``results/<name>``.

    Times are CPU seconds on one thread: of stage `adaptive` as a process, start included, and of AutoAttack alone.
    """
    experiment = read_experiment(read_json(folder / "config.json")["configuration"], str(folder))
    plan, results = Plan(experiment), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run in plan.runs:
            if experiment.training[Run.parse(run).training].adversary:
                results += _measure_network(folder.absolute(), plan, run)
    finally:
        torch.set_num_threads(threads)
    return results


def _measure_network(folder: Path, plan: Plan, run: str) -> list[Result]:
    before, attacked = our_suite(folder, plan, run)
    autoattack = torchattacks.AutoAttack(
        attacked.defense.as_recogniser(), eps=attacked.eps, n_classes=len(attacked.defense.centroids[0]), seed=0
    )
    start = time.process_time()
    examples = autoattack(attacked.images, attacked.labels)
    theirs = time.process_time() - start
    ours = [before, *(our_suite(folder, plan, run)[0] for _ in range(ROUNDS - 1))]
    fallen = attacked.defense.predict(examples).label != attacked.labels
    standing = attacked._replace(images=attacked.images[attacked.standing], labels=attacked.labels[attacked.standing])
    counts = {
        "torchattacks' AutoAttack": int((fallen & attacked.standing).sum()),
        "a targeted search": int(targeted_search(standing, ITERATIONS, RESTARTS).sum()),
    }
    left = len(standing.labels)
    return [
        ratio_of(f"adaptive suite / torchattacks' AutoAttack, {run}", [o / theirs for o in ours], 0.15, at_most=True),
        Result(f"CPU seconds of torchattacks' AutoAttack, {run}", theirs, theirs, theirs),
        Result(f"images that the adaptive suite leaves of {len(attacked.labels)}, {run}", left, left, left),
        *(Result(f"of these, {name} wins, {run}", n, n, n, 0, at_most=True) for name, n in counts.items()),
    ]


def our_suite(folder: Path, plan: Plan, run: str) -> tuple[float, Attacked]:
    """Run stage `adaptive` as the workflow does, and return its CPU seconds and what it leaves."""
    artefact = plan.adaptive(run, POOLING)
    words = arguments_of([artefact])
    at = words.index("--digest")  # the inputs may come from earlier code
    del words[at : at + 2]
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, run, "adaptive", f"{POOLING}.h5")
        output.parent.mkdir(parents=True)
        words[words.index("--adaptive") + 1] = str(output)
        start = children_seconds()
        command = [sys.executable, "-m", "featurepaths.stages.adaptive", *words, "--device", "cpu"]
        done = subprocess.run(command, cwd=folder.parents[1], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"stage adaptive of {run} failed: {done.stdout}{done.stderr}")
        took = children_seconds() - start
        with open_hdf5(output) as file, open_hdf5(folder / "data.h5") as data:
            labels = torch.from_numpy(file["labels"][:])
            images = to_tensor(data["images"][file["index"][:]], torch.device("cpu"))
            standing = torch.from_numpy(file["defended/adaptive"][:])
    eps = float(plan.experiment.attacks[plan.experiment.adaptive.attack].eps)
    defense = FeaturePathDefense.from_run(folder / run, POOLING)
    return took, Attacked(defense, images, labels, eps, standing)


def targeted_search(attacked: Attacked, iterations: int, restarts: int) -> Tensor:
    """Return which images [N] fall to sign steps with momentum towards each wrong class, from random starts.

    The search shares the defence's outputs and its decision with our suite, but neither losses nor steps.
    """
    defense, labels = attacked.defense, attacked.labels
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        wrong = defense.logits(attacked.images).scatter(1, labels.unsqueeze(1), -torch.inf)
    likeliest = wrong.argsort(dim=1, descending=True)
    won = torch.zeros(len(labels), dtype=torch.bool)
    for _ in range(restarts):
        for loss in (evasion, vote, majority):
            for rank in range(wrong.shape[1] - 1):
                rows = (~won).nonzero().squeeze(1)
                if len(rows):
                    remaining = attacked._replace(images=attacked.images[rows], labels=labels[rows])
                    won[rows] = sign_steps(remaining, loss, likeliest[rows, rank], iterations, generator)
    return won


def sign_steps(
    attacked: Attacked, loss: Callable, targets: Tensor, iterations: int, generator: torch.Generator
) -> Tensor:
    """Return which images [N] the defence decides wrongly at any of the steps that increase `loss`, once started."""
    defense, clean, eps = attacked.defense, attacked.images, attacked.eps
    noise = torch.rand(clean.shape, generator=generator) * 2 - 1
    points, momentum = (clean + eps * noise).clamp(0, 1), torch.zeros_like(clean)
    won = torch.zeros(len(clean), dtype=torch.bool)
    for iteration in range(iterations + 1):  # the last only looks at where the others led
        variable = points.clone().requires_grad_()
        outputs, _ = defense.outputs_and_finite(variable)
        won |= torch.from_numpy(decide(outputs, defense.calibration).prediction) != attacked.labels
        (gradient,) = torch.autograd.grad(loss(outputs, defense.calibration, targets).sum(), variable)
        momentum = 0.9 * momentum + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        step = eps * (0.25 * (1 - iteration / iterations) + 0.02)
        points = (clean + (points + step * momentum.sign() - clean).clamp(-eps, eps)).clamp(0, 1)
    return won


def evasion(outputs: ModelOutputs, calibration: Calibration, targets: Tensor) -> Tensor:
    """Return a loss [N] that grows as the network predicts the target and the score passes the threshold."""
    return _margin(outputs.logits, targets).clamp_max(0.5) + _score(outputs, calibration).clamp_max(0.1)


def vote(outputs: ModelOutputs, calibration: Calibration, targets: Tensor) -> Tensor:
    """Return a loss [N] that grows as all layers vote for the target and the score falls below the threshold."""
    weights = torch.as_tensor(calibration.voting_weights).to(outputs.similarity) * len(calibration.voting_layers)
    margins = _votes(outputs, calibration, targets).clamp_max(0.02)
    return margins @ weights - _score(outputs, calibration).clamp_min(-0.02)


def majority(outputs: ModelOutputs, calibration: Calibration, targets: Tensor) -> Tensor:
    """Return the same of the more than half of the layers that are closest to a vote for the target."""
    margins = _votes(outputs, calibration, targets).clamp_max(0.1)
    closest = margins.topk(len(calibration.voting_layers) // 2 + 1, dim=1).values
    return closest.sum(dim=1) - _score(outputs, calibration).clamp_min(-0.1)


def _votes(outputs: ModelOutputs, calibration: Calibration, targets: Tensor) -> Tensor:
    """Return the margin of the target in every voting layer [N, V]."""
    return torch.stack([_margin(outputs.similarity[:, n - 1], targets) for n in calibration.voting_layers], dim=1)


def _margin(values: Tensor, targets: Tensor) -> Tensor:
    """Return by how much the target's value exceeds the others, in standard deviations of the values [N, C]."""
    others = values.scatter(1, targets.unsqueeze(1), -torch.inf).amax(dim=1)
    margin = values.gather(1, targets.unsqueeze(1)).squeeze(1) - others
    return margin / values.detach().std(dim=1).clamp_min(1e-6)


def _score(outputs: ModelOutputs, calibration: Calibration) -> Tensor:
    """Return by how much S_max exceeds the threshold, in standard deviations of the classes' scores."""
    weights = torch.as_tensor(calibration.weights).to(outputs.similarity)
    layers = torch.as_tensor(calibration.layers) - 1
    scores = torch.einsum("nlc,l->nc", outputs.similarity[:, layers], weights)
    return (scores.amax(dim=1) - calibration.threshold) / scores.detach().std(dim=1).clamp_min(1e-6)
