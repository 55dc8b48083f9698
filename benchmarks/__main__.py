"""Run the benchmarks and print their table; a run of all writes results/benchmarks.json and results/benchmarks.md.

python -m benchmarks [training] [attacks] [features] [detectors] [memory] [orchestration]    all when none is named
"""

import argparse
import contextlib
import json
import os
import platform
import sys
from pathlib import Path

import pandas as pd
import torch

from benchmarks import attacks, detectors, features, memory, orchestration, training
from benchmarks.measure import Result

RESULTS = Path("results")


def main() -> None:
    """Run the benchmarks that the command line names."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False
    RESULTS.mkdir(exist_ok=True)
    available = {
        "training": lambda: training.measure(device),
        "attacks": lambda: attacks.measure(device),
        "features": lambda: features.measure(device, RESULTS),
        "detectors": lambda: detectors.measure(device),
        "memory": lambda: memory.measure(RESULTS),
        "orchestration": orchestration.measure,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(available))
    names = parser.parse_args().names or list(available)
    if unknown := set(names) - available.keys():
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(available)}")

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
    text = f"Measured on {_machine(device)}.\n\n{_table(results)}\n"
    print(text)
    if names == list(available):  # only a run of all benchmarks replaces the record
        (RESULTS / "benchmarks.json").write_text(json.dumps(records, indent=2) + "\n")
        (RESULTS / "benchmarks.md").write_text(text)


def _table(results: list[Result]) -> str:
    rows = [
        {
            "what": result.name,
            "ratio": f"{result.ratio:.3g}",
            "rounds": f"{result.low:.3g} to {result.high:.3g}",
            "target": "" if result.target is None else f"{'≤' if result.at_most else '≥'} {result.target:g}",
            "met": {None: "", True: "yes", False: "no"}[result.met],
        }
        for result in results
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"one {torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {models[0] if models else platform.processor()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
