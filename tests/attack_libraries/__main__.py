"""Every attack of five libraries against a network and against both views of its defence, as `docs` has the table.

python -m tests.attack_libraries [--page docs/attack-libraries.md] [--images 10] [--only LIBRARY]
"""

import argparse
import contextlib
import copy
import io
import itertools
import logging
import multiprocessing
import os
import random
import signal
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from featurepaths import FeaturePathDefense
from tests.attack_libraries.libraries import LIBRARIES, NOT_HERE

MARK = "<!-- make test-attack-libraries writes what follows -->\n"
PACKAGES = {
    "torchattacks": "torchattacks",
    "ART": "adversarial-robustness-toolbox",
    "foolbox": "foolbox",
    "adv-lib": "adv-lib",
    "SecML-Torch": "secml-torch",
}
SECONDS = 60
"""How long an attack may take on one network."""
OVER_TIME = f"takes more than {SECONDS} s"
FALLEN, LOST = 0.2, 0.5
"""The control has fallen where it keeps at most the first share of its answers; a view has to lose the second then."""


class Shifted(nn.Module):
    """The control: a network to whose logits the views' constant is added, the smallest of each image being 1."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        logits = self.network(images)
        return logits - logits.detach().amin(dim=1, keepdim=True) + 1


class OverTimeError(BaseException):
    """An attack took longer than it may; not an `Exception`, which libraries catch."""


def trained_defense():
    """Return a network of four narrow layers for digits of 8 x 8, its defence, and test images that all get right."""
    torch.manual_seed(0)
    pixels, labels = (torch.tensor(values) for values in load_digits(return_X_y=True))
    images = pixels.float().view(-1, 1, 8, 8) / 16
    train, calibration, test = torch.randperm(len(images)).split([1200, 300, 297])
    widths = [1, 16, 32, 32, 32]
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride=1 + (i == 1), padding=1), nn.BatchNorm2d(b), nn.ReLU())
        for i, (a, b) in enumerate(itertools.pairwise(widths))
    ]
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(512, 10))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(6):
        for rows in train[torch.randperm(len(train))].split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimiser.step()

    def loader(rows):
        return [(images[part], labels[part]) for part in rows.split(100)]

    defense = FeaturePathDefense(network, ["0", "1", "2", "3"], "flatten").fit(loader(train))
    defense.calibrate(loader(calibration), fpr=0.05)
    predicted = defense.predict(images[test])
    right = (defense.logits(images[test]).argmax(dim=1) == labels[test]) & ~predicted.flagged
    return network, defense, images[test][right], labels[test][right]


def measure(task):
    """Return how many answers are left right, or why an attack does not run, and the seconds it took."""
    library, name, column = task
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # which is what libraries draw from
    random.seed(0)
    start = time.perf_counter()
    network, images, labels = copy.deepcopy(NETWORKS[column]), IMAGES.clone(), LABELS.clone()

    def over_time(*_):
        raise OverTimeError

    signal.signal(signal.SIGALRM, over_time)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            adversarial = ATTACKS[library][name](network, images, labels)
        signal.alarm(0)
        with torch.no_grad():
            adversarial = adversarial.detach().float().view_as(images)
            broken = ~adversarial.flatten(1).isfinite().all(dim=1)
            answers = NETWORKS[column](torch.where(broken.view(-1, 1, 1, 1), IMAGES, adversarial.clamp(0, 1))).argmax(
                dim=1
            )
        unchanged = bool((adversarial == IMAGES).all())
        result = int((answers == LABELS).sum()), unchanged
    except OverTimeError:
        result = OVER_TIME, False
    except Exception as error:
        result = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}", False
    finally:
        signal.alarm(0)
    return (*result, time.perf_counter() - start)


def main():
    """Run all attacks, write the table, and stop where a view stands that should not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="the page to write the table to")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=list(LIBRARIES), choices=list(LIBRARIES))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.perf_counter()
    network, defense, images, labels = trained_defense()
    global NETWORKS, IMAGES, LABELS, ATTACKS  # for the processes that are forked
    IMAGES, LABELS = images[: arguments.images], labels[: arguments.images]
    NETWORKS = {
        "network": network,
        "network + constant": Shifted(network).eval(),
        "as_recogniser()": defense.as_recogniser(),
        "as_detector()": defense.as_detector(),
    }
    ATTACKS = {library: LIBRARIES[library]() for library in arguments.only}
    tasks = [(library, name, column) for library in ATTACKS for name in ATTACKS[library] for column in NETWORKS]
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        results = dict(zip(tasks, pool.map(measure, tasks), strict=True))
    table, wrong = report(results, len(IMAGES))
    print(table)
    print(f"{len(tasks)} attacks in {time.perf_counter() - start:.0f} s")
    if arguments.page is not None:
        before = arguments.page.read_text().split(MARK)[0]
        arguments.page.write_text(before + MARK + table)
    slow = sorted(results.items(), key=lambda item: -item[1][2])[:8]
    print("\n".join(f"{seconds:.0f} s: {task}" for task, (_, _, seconds) in slow))
    sys.exit("\n".join(wrong) or None)


def report(results, count):
    """Return the table and what is wrong with it, a line each."""
    lines, wrong, reasons = [], [], []
    for library in ATTACKS:
        lines += [f"\n## {library} {version(PACKAGES[library])}\n"]
        lines += [f"| attack | {' | '.join(f'`{c}`' if '(' in c else c for c in NETWORKS)} |", "|:--|--:|--:|--:|--:|"]
        reasons = []
        for name in ATTACKS[library]:
            row = {column: results[library, name, column] for column in NETWORKS}
            cells = []
            for column, (result, unchanged, _) in row.items():
                if isinstance(result, str):
                    reasons.append((name, column, result))
                cells.append("does not run" if isinstance(result, str) else f"{result}{' (unchanged)' * unchanged}")
            lines.append(f"| {name} | {' | '.join(cells)} |")
            wrong += [f"{library}, {name}: {what}" for what in judged(row, count)]
        if reasons:
            lines.append("\nWhat does not run, and why:\n")
            by_reason = {}
            for name, column, reason in reasons:
                by_reason.setdefault((name, reason), []).append(column)
            lines += [
                f"- {name}{'' if len(columns) == len(NETWORKS) else ' on ' + ', '.join(columns)}: `{reason}`"
                for (name, reason), columns in by_reason.items()
            ]
        if library in NOT_HERE:
            lines.append(f"\nNot in the table: {NOT_HERE[library]}.")
    return "\n".join(lines) + "\n", wrong


def judged(row, count):
    """Yield what is wrong with the results of one attack: see the page."""
    control = row["network + constant"][0]
    for column in ("as_recogniser()", "as_detector()"):
        left = row[column][0]
        if isinstance(control, str):
            continue
        if left == OVER_TIME:
            continue
        if isinstance(left, str):
            yield f"runs on the control, not on {column}: {left}"
        elif control <= FALLEN * count and left > (1 - LOST) * count:
            yield f"the control keeps {control} of {count}, {column} {left}"


if __name__ == "__main__":
    main()
