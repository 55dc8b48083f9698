"""featurepaths: write a configuration, check it, run its experiment, and print its results."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from featurepaths.errors import FeaturePathsError


def run(arguments: argparse.Namespace) -> int:
    """Run an experiment in the working folder, and make its report. What follows `--` goes to Snakemake."""
    from featurepaths.workflow.run import run_experiment

    return run_experiment(
        arguments.config, arguments.cores, arguments.profile, arguments.report, arguments.for_snakemake
    )


def show(arguments: argparse.Namespace) -> None:
    """Print tables of an experiment's results, at the width of the terminal."""
    from rich.console import Console

    from featurepaths.report.terminal import show_tables

    show_tables(arguments.results, arguments.tables, Console(), markdown=arguments.markdown)


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

    def add(function: Callable[[argparse.Namespace], int | None]) -> argparse.ArgumentParser:
        text = function.__doc__ or ""
        command = commands.add_parser(function.__name__, help=text[:1].lower() + text[1:].rstrip("."), description=text)
        command.set_defaults(function=function)
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
    command = add(run)
    without = "config.yaml of this folder, or else the default experiment, if none is named"
    command.add_argument("config", type=Path, nargs="?", help=f"a configuration file; {without}")
    command.add_argument("--cores", help="how many jobs' threads may run at a time: a number or all (default)")
    command.add_argument("--profile", help="a Snakemake profile: a folder, or `slurm`, which runs jobs on a cluster")
    command.add_argument("--report", action=argparse.BooleanOptionalAction, default=True, help="make the report")
    command = add(show)
    command.add_argument("results", type=Path, help="an experiment's folder: results/<name>")
    command.add_argument("tables", nargs="*", help="which tables; the verdict and the main ones if none is named")
    command.add_argument("--markdown", action="store_true", help="print Markdown, to paste it elsewhere")
    for function in (layers, check):
        add(function).add_argument("config", type=Path, help="a configuration file")
    return top


def main(words: Sequence[str] | None = None) -> None:
    """Run a command; a FeaturePathsError ends it with one message and exit code 1."""
    words = sys.argv[1:] if words is None else list(words)
    end = words.index("--") if "--" in words else len(words)
    arguments = parser().parse_args(words[:end])
    arguments.for_snakemake = words[end + 1 :]
    if arguments.for_snakemake and arguments.function is not run:
        parser().error(f"only `run` passes arguments to Snakemake: {' '.join(arguments.for_snakemake)}")
    try:
        if status := arguments.function(arguments):
            sys.exit(status)
    except FeaturePathsError as error:
        sys.exit(f"Error: {error}")
    except BrokenPipeError:  # the reader, such as `head`, has stopped reading
        sys.stderr.close()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
