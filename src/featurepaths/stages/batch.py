"""Batch: several stages, one after the other, in one process.

Starting a process and importing its libraries takes longer than many stages work.
"""

import json
import sys
from importlib import import_module

from featurepaths.experiment.stages import STAGES
from featurepaths.stages import cli


def main(device, steps):
    """Run steps, pairs of a stage's name and its arguments; those that run a network on `device`."""
    for stage, words in steps:
        if STAGES[stage].network:
            words = [*words, "--device", device]
        module = import_module(f"featurepaths.stages.{stage}")
        print(f"{stage}: {module.__doc__.splitlines()[0]}", flush=True)
        module.main(cli.parser(stage).parse_args(words))


if __name__ == "__main__":
    device, *steps = sys.argv[1:]
    calls = [json.loads(step) for step in steps]
    cli.run_safely(lambda: main(device, calls), network=any(STAGES[stage].network for stage, _ in calls))
