"""featurepaths: write a configuration, check it before a run, and print its results.

Snakemake runs the experiment itself: see the README.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from featurepaths.errors import FeaturePathsError

MAIN_TABLES = ("verdict", "comparison", "accuracy", "checks")
"""Tables that `show` prints by default, if they exist."""


def show(arguments: argparse.Namespace) -> None:
    """Print tables of an experiment's results."""
    folder = arguments.results / "tables"
    existing = sorted(path.stem for path in folder.glob("*.md"))
    if not existing:
        raise FeaturePathsError(f"{folder} has no tables. Name the folder of an experiment, such as results/digits.")
    names = arguments.tables or [name for name in MAIN_TABLES if name in existing]
    if missing := [name for name in names if name not in existing]:
        raise FeaturePathsError(f"There is no table '{missing[0]}' in {folder}; there are {', '.join(existing)}.")
    for name in names:
        print((folder / f"{name}.md").read_text(encoding="utf-8"))
    if others := [name for name in existing if name not in names]:
        print(f"Also: {', '.join(others)} (featurepaths show {arguments.results} <table> ...)")


def layers(arguments: argparse.Namespace) -> None:
    """List the layers of every network, and the disk space of their features."""
    from featurepaths.experiment import preview

    experiment, external = preview.read(arguments.config)
    size = preview.data_size(experiment, external)
    networks = {model: preview.network_of(experiment, size, model) for model in experiment.models}
    for model, network in networks.items():
        print(preview.layer_table(model, network.layers), *network.notes, sep="\n", end="\n\n")
    print(preview.disk_space(experiment, size, {model: network.layers for model, network in networks.items()}))


def check(arguments: argparse.Namespace) -> None:
    """Report what would fail before anything runs."""
    from featurepaths.experiment import preview

    experiment, external = preview.read(arguments.config)
    problems = []
    for subject, test in preview.checks(experiment, external):
        try:
            print(f"ok       {subject}: {test()}", flush=True)
        except FeaturePathsError as error:
            problems.append(subject)
            print(f"WRONG    {subject}: {error}", flush=True)
    if problems:
        raise FeaturePathsError(f"{arguments.config}: correct {', '.join(problems)}.")


def new(arguments: argparse.Namespace) -> None:
    """Write a configuration from a network, its weights and the data."""
    from featurepaths.experiment.proposal.create import Request, create

    words = arguments.file, arguments.network, arguments.checkpoint, arguments.data, arguments.eps
    for line in create(Request(*words), force=arguments.force):
        print(line, flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="featurepaths", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(required=True, metavar="command")

    def add(function: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        text = function.__doc__ or ""
        command = commands.add_parser(function.__name__, help=text[:1].lower() + text[1:].rstrip("."), description=text)
        command.set_defaults(run=function)
        return command

    command = add(new)
    command.add_argument("file", type=Path, help="the configuration file to write")
    command.add_argument("--network", help="package.module:function, timm:NAME, a folder of transformers, or a section")
    command.add_argument("--checkpoint", metavar="FILE", help="the weights of the network")
    command.add_argument(
        "--data", nargs="+", default=["digits"], help="a folder, one or two files, or a data set's name"
    )
    command.add_argument(
        "--eps", default="8/255", help="the attack's radius in pixel values of [0, 1] (default: 8/255)"
    )
    command.add_argument("--force", action="store_true", help="overwrite the file")
    command = add(show)
    command.add_argument("results", type=Path, help="an experiment's folder: results/<name>")
    command.add_argument("tables", nargs="*", help=f"which tables; {', '.join(MAIN_TABLES)} if none is named")
    for function in (layers, check):
        add(function).add_argument("config", type=Path, help="a configuration file")
    return top


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; a FeaturePathsError ends it with one message and exit code 1."""
    arguments = parser().parse_args(words)
    try:
        arguments.run(arguments)
    except FeaturePathsError as error:
        sys.exit(f"Error: {error}")
    except BrokenPipeError:  # the reader, such as `head`, has stopped reading
        sys.stderr.close()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
