"""featurepaths: what a configuration would do, and what its results say.

The experiment itself is run by Snakemake: see the README.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from featurepaths.errors import FeaturePathsError

MAIN_TABLES = ("verdict", "comparison", "accuracy", "checks")
"""What `show` prints, of those that there are."""


def show(arguments: argparse.Namespace) -> None:
    """Print tables of an experiment's results."""
    folder = arguments.results / "tables"
    known = sorted(path.stem for path in folder.glob("*.md"))
    if not known:
        raise FeaturePathsError(f"{folder} has no tables. Name the folder of an experiment, such as results/digits.")
    wanted = arguments.tables or [name for name in MAIN_TABLES if name in known]
    for name in wanted:
        if name not in known:
            raise FeaturePathsError(f"There is no table '{name}' in {folder}; there are {', '.join(known)}.")
    for name in wanted:
        print((folder / f"{name}.md").read_text(encoding="utf-8"))
    if left := [name for name in known if name not in wanted]:
        print(f"Also: {', '.join(left)} (featurepaths show {arguments.results} <table> ...)")


def layers(arguments: argparse.Namespace) -> None:
    """List the layers of every network, and what their features take on the disk."""
    from featurepaths.experiment import preview

    experiment, outside = preview.read(arguments.config)
    size = preview.data_size(experiment, outside)
    found = {model: preview.layers_of(experiment, size, model) for model in experiment.models}
    for model, its_layers in found.items():
        print(preview.layer_table(model, its_layers), end="\n\n")
    print(preview.disk_space(experiment, size, found))


def check(arguments: argparse.Namespace) -> None:
    """Say what would go wrong before anything runs."""
    from featurepaths.experiment import preview

    experiment, outside = preview.read(arguments.config)
    problems = []
    for said, test in preview.checks(experiment, outside):
        try:
            print(f"ok       {said}: {test()}", flush=True)
        except FeaturePathsError as error:
            problems.append(said)
            print(f"WRONG    {said}: {error}", flush=True)
    if problems:
        raise FeaturePathsError(f"{arguments.config}: mend {', '.join(problems)}.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="featurepaths", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(required=True, metavar="command")

    def add(function: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        text = function.__doc__ or ""
        command = commands.add_parser(function.__name__, help=text[:1].lower() + text[1:].rstrip("."), description=text)
        command.set_defaults(run=function)
        return command

    command = add(show)
    command.add_argument("results", type=Path, help="an experiment's folder: results/<name>")
    command.add_argument("tables", nargs="*", help=f"which tables; {', '.join(MAIN_TABLES)} if none is named")
    for function in (layers, check):
        add(function).add_argument("config", type=Path, help="a configuration file")
    return made


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; what the user can put right ends it with one message and exit code 1."""
    arguments = parser().parse_args(words)
    try:
        arguments.run(arguments)
    except FeaturePathsError as error:
        sys.exit(f"Error: {error}")
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
