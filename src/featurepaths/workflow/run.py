"""Run an experiment: Snakemake's jobs, their progress, the report, and the result in the terminal."""

import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from featurepaths.errors import FeaturePathsError
from featurepaths.report.terminal import print_places, print_result
from featurepaths.workflow.display import LINES_OF_LOG, Display
from featurepaths.workflow.folder import configuration_of, profile_of, workflow_folder
from featurepaths.workflow.start import STARTED


def run_experiment(
    config: Path | None, cores: str | None, profile: str | None, report: bool, arguments: Sequence[str]
) -> int:
    """Run the workflow in the working folder, in this process, and return its exit code.

    Parameters
    ----------
    config, profile
        See `configuration_of` and `profile_of`; no profile: jobs run on this machine.
    cores
        A number, or `all`; None: all of this machine, or those of the profile.
    report
        Whether to make the report when everything is made.
    arguments
        Further arguments of Snakemake.

    Raises
    ------
    FeaturePathsError
        If there is no such configuration, profile or number of cores, or the report cannot be made.
    """
    path, console = configuration_of(config), Console()
    if config is None:
        console.print(f"Configuration: {path}", markup=False, highlight=False, soft_wrap=True)
    words = [
        f"--snakefile={workflow_folder() / 'Snakefile'}",
        f"--configfile={path}",
        f"--workflow-profile={profile_of('default')}",
        *([f"--profile={profile_of(profile)}"] if profile else []),
    ]
    if cores or not profile:
        words.append(f"--cores={cores or 'all'}")
    succeeded, parsed, executed = _call_snakemake([*words, *arguments], console)
    if not succeeded:
        return 1
    part = parsed.dryrun or parsed.touch or parsed.targets or parsed.until or parsed.omit_from or parsed.batch
    if executed and not part:
        for results in STARTED:  # their locks are held to the end
            print_result(results, console)
            page = _report(parsed, results, console) if report else results / "report.html"
            print_places(results, page, console)
    return 0


def _call_snakemake(words: list[str], console: Console) -> tuple[bool, Any, bool]:
    """Call Snakemake; return whether it succeeded, its parsed arguments, and whether it was to run jobs."""
    from snakemake import cli
    from snakemake.exceptions import print_exception
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
    from snakemake_interface_logger_plugins.registry.plugin import Plugin

    parser, parsed = _parse(cli, words)
    own = parsed.dryrun or parsed.logger or parsed.verbose or parsed.debug_dag or parsed.printshellcmds or parsed.quiet
    display = Display(console, silent=bool(own))
    plugin = Plugin(_name="featurepaths", log_handler=lambda *_: display, _logger_settings_cls=None)
    LoggerPluginRegistry().plugins["featurepaths"] = plugin
    parsed.logger = [*parsed.logger, "featurepaths"]
    try:
        succeeded = cli.args_to_api(parsed, parser)
    except Exception as error:
        print_exception(error)
        succeeded = False
    return bool(succeeded), parsed, display.executed


def _parse(cli: Any, words: list[str]) -> tuple[Any, SimpleNamespace]:
    """Return Snakemake's parser and the parsed words, without its remark on the profile."""
    output = io.StringIO()
    try:
        with redirect_stderr(output):
            return cli.parse_args(words)
    except cli.CliException as error:
        raise FeaturePathsError(str(error)) from None
    finally:
        lines = output.getvalue().splitlines(keepends=True)
        sys.stderr.write("".join(line for line in lines if not line.startswith("Using workflow specific profile")))


def _report(parsed: Any, results: Path, console: Console) -> Path:
    """Return the report, made again if anything is newer.

    Raises
    ------
    FeaturePathsError
        If Snakemake cannot make it: with the last lines of its output.
    """
    page, new = results / "report.html", results / ".report.html"
    if page.exists() and not any(path.stat().st_mtime > page.stat().st_mtime for path in _shown(parsed, results)):
        return page
    words = [sys.executable, "-m", "snakemake", f"--snakefile={parsed.snakefile}", "--cores=1"]
    for option, values in (("--configfile", parsed.configfile), ("--config", parsed.config)):
        words += [option, *map(str, values)] if values else []
    words += ["--directory", str(parsed.directory)] if parsed.directory else []
    words += [f"--report={new}", f"--report-stylesheet={Path(parsed.snakefile).parent / 'captions/report.css'}"]
    with console.status("Writing the report"):
        process = subprocess.run(words, capture_output=True, text=True, check=False)
    if process.returncode:
        output = (process.stdout + process.stderr).strip().splitlines()[-LINES_OF_LOG:]
        raise FeaturePathsError("\n".join([f"{page} cannot be made. The tables are. Snakemake says:", *output]))
    new.replace(page)
    return page


def _shown(parsed: Any, results: Path) -> Iterator[Path]:
    """Yield the files that determine the report."""
    folder = Path(parsed.snakefile).parent
    yield from (Path(parsed.snakefile), *map(Path, parsed.configfile))
    for part in (results, folder / "rules", folder / "captions"):
        yield from (path for path in part.rglob("*") if path.is_file())
