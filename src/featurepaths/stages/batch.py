"""Batch: runs several stages one after another in one process, which saves the start of each."""

import argparse
import json
from importlib import import_module

from featurepaths.stages import cli


def main(arguments):
    for step in arguments.steps:
        module = import_module(f"featurepaths.stages.{step['stage']}")
        parser = module.parser()
        words = step["arguments"]
        if "--device" in parser._option_string_actions:
            words = [*words, "--device", arguments.device]
        module.main(parser.parse_args(words))


def parser():
    parser = argparse.ArgumentParser(description=__doc__)
    text = 'JSON list of calls, in order: {"stage": <name>, "arguments": [<words of its command line>]}'
    parser.add_argument("--steps", type=json.loads, required=True, help=text)
    cli.add_device(parser)
    return parser


if __name__ == "__main__":
    cli.run(main, parser())
