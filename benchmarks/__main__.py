"""Run the benchmarks and print their table; a run of all writes results/benchmarks.json and results/benchmarks.md.

python -m benchmarks [training] [attacks] [features] [detectors] [memory] [orchestration] [adaptive]    default: all

It exits with 1 if a row misses its target by more than the spread of its rounds.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

import torch

from benchmarks import adaptive, attacks, detectors, features, memory, orchestration, training
from benchmarks.measure import Result, failures, machine, table

RESULTS = Path("results")


def main() -> None:
    """Run the benchmarks that the command line names."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False
    available = {
        "training": lambda: training.measure(device),
        "attacks": lambda: attacks.measure(device),
        "features": lambda: features.measure(device, RESULTS),
        "detectors": lambda: detectors.measure(device),
        "memory": lambda: memory.measure(RESULTS),
        "orchestration": orchestration.measure,
        "adaptive": lambda: adaptive.measure(arguments.experiment),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(available))
    text = "the results of the default experiment, finished, whose networks `adaptive` attacks (default: %(default)s)"
    parser.add_argument("--experiment", type=Path, default=RESULTS / "digits", metavar="FOLDER", help=text)
    arguments = parser.parse_args()
    names = arguments.names or list(available)
    if unknown := set(names) - available.keys():
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(available)}")
    if "adaptive" in names and not (arguments.experiment / "config.json").exists():
        parser.error(f"{arguments.experiment} holds no finished experiment: run `make run`, or set --experiment")

    RESULTS.mkdir(exist_ok=True)
    results: list[Result] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123
            measured = available[name]()
        results += measured
        for result in measured:
            print(f"  {result.name}: {result.ratio:.3g}", file=sys.stderr, flush=True)
    records = [
        {"name": r.name, "ratio": r.ratio, "low": r.low, "high": r.high, "target": r.target, "met": r.met}
        for r in results
    ]
    text = f"Measured on {machine(device)}.\n\n{table(result.cells() for result in results)}\n"
    print(text)
    if names == list(available):  # only a run of all benchmarks replaces the record
        (RESULTS / "benchmarks.json").write_text(json.dumps(records, indent=2) + "\n")
        (RESULTS / "benchmarks.md").write_text(text)
    sys.exit(failures(results) or 0)


if __name__ == "__main__":
    main()
