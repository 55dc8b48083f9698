"""Measure a checkout against an older one, alternately: each runs its own Snakefile, code and default configuration.

python -m benchmarks.revisions OLD NEW [experiment] [adaptive] [wide] [attack] [again]    all when none is named

experiment  wall time of the default experiment and its report
adaptive    CPU time of stage `adaptive` on each network of the default experiment, and the images that it leaves
wide        the same on the full-width ResNet-18 and 256 images of the image folder --images
attack      wall time of adding one attack to the finished default experiment
again       wall time of Snakemake when there is nothing to do

It writes results/revisions.md, and exits with 1 if a row misses its target by more than the spread of its rounds.
"""

import argparse
import copy
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml
from safetensors.numpy import load_file

from benchmarks.checkouts import Side, with_equal_budgets
from benchmarks.measure import Result, failures, machine, ratio_of, table

CLASS_IMAGES = {"train": 1000, "test": 50}
"""Images of each class that the full-width network is trained and tested with: a few minutes on one core."""
WIDE = Path(__file__).with_name("wide.yaml")


class Row:
    """A row of the table: medians of the old and the new revision, and the result that has the target."""

    def __init__(self, result: Result, old: str, new: str):
        self.result, self.old, self.new = result, old, new
        print(f"  {result.name}: {old}, {new}, {result.ratio:.3g}", file=sys.stderr, flush=True)

    def cells(self) -> dict[str, str]:
        """Return the row of a table."""
        what = self.result.cells()
        return {"what": what.pop("what"), "old": self.old, "new": self.new, **what}


Sides = tuple[Side, Side]


def alternately(sides: Sides, rounds: int, call: Callable[[Side], float]) -> tuple[list[float], list[float]]:
    """Return the seconds that `call` returns in all rounds for the two sides, which take turns to be the first."""
    durations: dict[Side, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 else reversed(sides):
            durations[side].append(call(side))
    return durations[sides[0]], durations[sides[1]]


def ratio(name: str, sides: Sides, rounds: int, call: Callable[[Side], float], target: float | None) -> Row:
    """Return the row of the new side's seconds divided by the old one's."""
    old, new = alternately(sides, rounds, call)
    result = ratio_of(name, [n / o for o, n in zip(old, new, strict=True)], target, at_most=True)
    return Row(result, f"{statistics.median(old):.1f} s", f"{statistics.median(new):.1f} s")


def experiment(sides: Sides, rounds: int) -> Iterator[Row]:
    """Run the default experiment from nothing, as `make run` does."""

    def once(side: Side) -> float:
        folder = side.folder / "started"
        shutil.rmtree(folder, ignore_errors=True)
        took = side.run(folder, side.config, "--quiet", "rules", "host")
        took += side.run(folder, side.config, "--report", folder / "report.html")
        shutil.rmtree(side.finished, ignore_errors=True)
        folder.rename(side.finished)
        return took

    yield ratio("default experiment with report, wall time", sides, rounds, once, 0.40)


def adaptive(sides: Sides, rounds: int) -> Iterator[Row]:
    """Run stage `adaptive` of the default experiment."""
    config = sides[0].config
    for model in config["models"]:
        for training in config["training"]:
            target = 0.35 if model == "resnet20" else None
            yield from compared(sides, rounds, lambda side: side.config, f"{model}-{training}-s0", target)


def wide(sides: Sides, rounds: int, images: Path) -> Iterator[Row]:
    """Run stage `adaptive` on the full-width network, trained briefly on some of the images."""
    config = yaml.safe_load(WIDE.read_text())
    config["data"]["root"] = str(sides[0].folder.parent / "images")
    for part, count in CLASS_IMAGES.items():
        for folder in (images / part).iterdir():
            target = Path(config["data"]["root"], part, folder.name)
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(folder.iterdir())[:count]:
                shutil.copy(file, target)
    yield from compared(sides, rounds, lambda side: config, "resnet18-adversarial-s0", 0.40)


def compared(
    sides: Sides, rounds: int, config_of: Callable[[Side], dict], network: str, target: float | None
) -> Iterator[Row]:
    """Yield the rows of the CPU time of stage `adaptive` on a network, and of the images that only the old one wins."""
    what = f"{config_of(sides[0])['name']} {network}"
    yield ratio(
        f"`adaptive` of {what}, CPU time", sides, rounds, lambda side: side.adaptive(config_of(side), network), target
    )
    standing, indices, weights = [], [], []
    for side in sides:
        file = side.records(config_of(side), network)
        with h5py.File(file) as records:
            standing.append(records["defended/adaptive"][:])
            indices.append(records["index"][:])
        weights.append(load_file(file.parents[1] / "checkpoint.safetensors"))
    if not np.array_equal(*indices):
        raise RuntimeError(f"{what}: the two revisions attacked other images")
    same = all(np.array_equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    old, new = standing
    lost = int((new & ~old).sum())
    name = f"images of {what} that only the old revision wins{'' if same else ' (other weights)'}"
    result = Result(name, lost, lost, lost, 0 if same else None, at_most=True)
    yield Row(result, f"{old.sum()} of {len(old)} left", f"{new.sum()} left")


def attack(sides: Sides, rounds: int) -> Iterator[Row]:
    """Add an attack, the first one with the other loss, to the finished default experiment."""

    def once(side: Side) -> float:
        config = copy.deepcopy(side.config)
        config["attacks"]["added"] = next(iter(config["attacks"].values())) | {"loss": "dlr"}
        folder = side.folder / "added"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(side.finished, folder, symlinks=True)
        return side.run(folder, config, "--quiet", "rules", "host")

    for side in sides:
        side.finish()
    yield ratio("one attack more, wall time", sides, rounds, once, 0.40)


def again(sides: Sides, rounds: int) -> Iterator[Row]:
    """Run Snakemake on the finished default experiment; the target is in seconds."""
    for side in sides:
        side.finish()
    for name, options in (("`snakemake --cores 2`", ()), ("first call of `make run`", ("--quiet", "rules", "host"))):
        old, new = alternately(sides, rounds, lambda side, o=options: side.run(side.finished, side.config, *o))
        result = ratio_of(f"second run, seconds of the {name}", new, 2.0, at_most=True)
        yield Row(result, f"{statistics.median(old):.1f} s", f"{result.ratio:.1f} s")


def main() -> None:
    """Measure the rows that the command line names, and print and write their table."""
    rows: dict[str, Callable[..., Iterator[Row]]] = {
        row.__name__: row for row in (experiment, adaptive, wide, attack, again)
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("rows", nargs="*", metavar="row", help=", ".join(rows))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="holds train/<class>/ and test/<class>/")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keeps the experiments, for further calls")
    arguments = parser.parse_args()
    names = arguments.rows or list(rows)
    if unknown := set(names) - rows.keys():
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(rows)}")
    if "wide" in names and not arguments.images:
        parser.error("wide needs --images")
    with ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides = with_equal_budgets(
            *(Side(getattr(arguments, name).resolve(), work.resolve() / name) for name in ("old", "new"))
        )
        measured: list[Row] = []
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            measured += rows[name](sides, arguments.rounds, *([arguments.images] if name == "wide" else []))
    old, new = sides
    where = machine(torch.device("cpu"))
    text = f"{new.revision} against {old.revision}, on {where}.\n\n{table(row.cells() for row in measured)}\n"
    print(text)
    Path("results").mkdir(exist_ok=True)
    Path("results/revisions.md").write_text(text)
    sys.exit(failures(row.result for row in measured) or 0)


if __name__ == "__main__":
    main()
