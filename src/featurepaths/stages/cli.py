"""Shared parts of the stages' command lines.

Every stage takes its input and output files, `--settings` (its slice of the configuration, as JSON) and, from its rule,
`--digest` (of the expected inputs, settings and code).
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pydantic import ValidationError

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.stage import ANY_NUMBER, ONE_OR_MORE
from featurepaths.experiment.stages import STAGES
from featurepaths.stages.process import run_safely
from featurepaths.store.code_digest import artefact_digest, digest_of
from featurepaths.store.jsonfile import write_json
from featurepaths.store.origin import Origin, Version
from featurepaths.store.provenance import common_ancestors, descend, read_version
from featurepaths.store.seal import checksum_of

if TYPE_CHECKING:
    from featurepaths.experiment.config.types import Section


class Output(NamedTuple):
    """A file that a stage is to write: the name of its artefact, and the value of each name in its path."""

    path: Path
    name: str
    names: dict[str, str]


def parser(name: str, description: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of a stage: an option per input and output of its declaration, and its further options."""
    stage = STAGES[name]
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    text = f"JSON object, from {', '.join(stage.keys) or 'nothing'} of the configuration"
    parser.add_argument("--settings", type=partial(_settings, stage.settings), default="{}", help=text)
    parser.add_argument("--digest", help="refuse to work if inputs, settings or code do not have this digest")
    if stage.network:
        text = "auto takes a GPU if there is one"
        parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help=text)
    if stage.sharded:
        text = "do only the I-th of N parts; the artefact x.h5 is then called x/I-of-N.h5"
        parser.add_argument("--shard", type=parse_shard, metavar="I-of-N", help=text)
    for option, arguments in stage.options.items():
        parser.add_argument(f"--{option}", **arguments)
    for option, (text, number) in stage.inputs.items():
        default = [] if number == ANY_NUMBER else None
        quantity = {"nargs": number, "required": number in (None, ONE_OR_MORE), "default": default}
        parser.add_argument(f"--{option}", type=Path, help=text, **quantity)
    for option, path in stage.outputs.items():
        if option not in stage.inputs:
            several = {"nargs": "+", "metavar": path} if stage.several else {}
            parser.add_argument(f"--{option}", type=Path, required=True, help=f"to write: {path}", **several)
    parser.set_defaults(stage=name)
    return parser


def outputs_of(arguments: argparse.Namespace, option: str) -> list[Output]:
    """Return the files that a stage is to write for one of its output options.

    Raises
    ------
    FeaturePathsError
        If a file is not called as the stage's declaration says.
    """
    stage, value = STAGES[arguments.stage], getattr(arguments, option)
    shard, form = getattr(arguments, "shard", None), stage.outputs[option]
    outputs = []
    for path in value if isinstance(value, list) else [value]:
        names = stage.names_in(option, path if shard is None else path.parent.with_name(f"{path.parent.name}.h5"))
        if names is None or (shard and path.stem != f"{shard[0]}-of-{shard[1]}"):
            ending = "" if shard is None else f", as its shard {form.rpartition('.')[0]}/{shard[0]}-of-{shard[1]}.h5"
            raise FeaturePathsError(f"{path} is to be called {form}{ending}.")
        name = form.rpartition(".")[0].format_map(names)
        outputs.append(Output(path, name if shard is None else f"{name}/{path.stem}", names))
    return outputs


def output_of(arguments: argparse.Namespace) -> Output:
    """Return the only file, or the first of the files, that a stage is to write."""
    return outputs_of(arguments, next(iter(STAGES[arguments.stage].outputs)))[0]


def shards_of(artefact: Path) -> Path:
    """Return the folder of an artefact's shards."""
    return artefact.with_suffix("")


def remove_shards(artefact: Path) -> None:
    """Remove the shards of an existing artefact, and their resume files."""
    rmtree(shards_of(artefact), ignore_errors=True)


def inputs_of(arguments: argparse.Namespace) -> list[Path]:
    """Return the input files of a stage, in the order of its declaration."""
    files: list[Path] = []
    for option in STAGES[arguments.stage].inputs:
        value = getattr(arguments, option)
        files += value if isinstance(value, list) else [value] if value else []
    return files


def origin_of(arguments: argparse.Namespace, output: Output, strangers: Sequence[str] = ()) -> Origin:
    """Return the origin of the only file that a stage makes: see `origins_of`."""
    return origins_of(arguments, [output], strangers)[0]


def origins_of(arguments: argparse.Namespace, outputs: Iterable[Output], strangers: Sequence[str] = ()) -> list[Origin]:
    """Return the origins of a stage's outputs. Its inputs must belong together and be the expected ones.

    `strangers` are the options of inputs of another run: see `featurepaths.store.provenance.descend`.

    Raises
    ------
    FeaturePathsError
        If two inputs come from different versions of an artefact or from other features than the output is called
        after, or the digest is not that of `--digest`.
    """
    versions = {path: read_version(path) for path in inputs_of(arguments)}
    digest = check_inputs(arguments, versions)
    others = [path for option in strangers if (path := getattr(arguments, option))]
    own = [path for path in inputs_of(arguments) if path not in others]
    origins = []
    for output in outputs:
        for path, version in versions.items():
            pooling = version.origin.pooling
            if pooling and pooling != output.names.get("pooling", pooling):
                raise FeaturePathsError(
                    f"{output.path} is called after other features than {path}, whose pooling is {pooling}."
                )
        origins.append(descend(output.name, artefact_digest(digest, output.name), own, others, versions.__getitem__))
    return origins


def check_inputs(arguments: argparse.Namespace, versions: Mapping[Path, Version]) -> str:
    """Return the digest of a stage's work on its inputs, whose versions on the disk are `versions`.

    Raises
    ------
    FeaturePathsError
        If it is not that of `--digest`: the inputs are not those expected.
    """
    inputs = inputs_of(arguments)
    digest = digest_of(arguments.stage, arguments.settings.recipe(), [versions[path].origin.digest for path in inputs])
    if arguments.digest not in (None, digest):
        raise FeaturePathsError(
            f"The inputs of stage {arguments.stage} ({', '.join(map(str, inputs))}), or the code, are not those that "
            "this run of the workflow expects: they were made with another configuration, or the code was edited "
            "meanwhile. Run snakemake again; if this comes back, delete those files first."
        )
    return digest


def origin_of_record(arguments: argparse.Namespace) -> Origin:
    """Return the origin of a stage's record, `arguments.record`: of files that cannot carry one, from several runs.

    Raises
    ------
    FeaturePathsError
        If two inputs come from different versions of an artefact of one run, or the digest is not that of `--digest`.
    """
    record = arguments.record
    inputs = inputs_of(arguments)
    versions = {path: read_version(path) for path in inputs}
    digest = check_inputs(arguments, versions)

    def of_its_run(path: Path, ancestor: str) -> str:
        run = path.parents[versions[path].origin.name.count("/")].name  # its name begins in the run's folder
        return ancestor if ancestor == "data.h5" else f"{run}/{ancestor}"

    common_ancestors(versions, of_its_run)
    name = f"{record.parent.name}/{record.stem}"
    return Origin(name, artefact_digest(digest, name), {}, tuple(versions[path].contents for path in inputs))


def write_record(record: Path, origin: Origin, files: Iterable[str]) -> None:
    """Write a record: its origin, and the checksums of `files` next to it, when they are complete."""
    checksums = {file: checksum_of(record.with_name(file)) for file in sorted(files)}
    write_json(record, {"files": checksums}, origin)


@contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Give a function that returns the signal that asked to stop, 0 if none did; in the block they do nothing else."""
    requested = 0

    def note(number: int, _: Any) -> None:
        nonlocal requested
        requested = number

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_by(number: int) -> NoReturn:
    """End a stage that was asked to stop by a signal, and has saved what it could."""
    print(f"Stopped by signal {number}. Run again to resume from the saved state.", flush=True)
    sys.exit(128 + number)


def run(stage: str, main: Callable[[argparse.Namespace], None]) -> None:
    """Run a stage with the arguments of the command line."""
    arguments = parser(stage, sys.modules["__main__"].__doc__).parse_args()
    run_safely(partial(main, arguments), network=STAGES[stage].network)


def as_floats(values: str | list[Fraction] | None) -> Any:
    """Return a list of exact numbers as floats; a word, such as ``equal``, and None stay."""
    return [float(value) for value in values] if isinstance(values, list) else values


def parse_shard(text: str) -> tuple[int, int]:
    """Return the numbers in a text such as ``2-of-4``.

    Raises
    ------
    argparse.ArgumentTypeError
        If that is no shard.
    """
    number, _, shards = text.partition("-of-")
    if not (number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise argparse.ArgumentTypeError("not a number of a shard such as 2-of-4")
    return int(number), int(shards)


def _settings(kind: "type[Section]", text: str) -> "Section":
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ") for problem in error.errors()
        )
        raise argparse.ArgumentTypeError("; ".join(problems)) from None
