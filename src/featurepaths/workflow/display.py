"""The display of a run, from Snakemake's log events: bars on a terminal, and a few lines in a log file.

It implements Snakemake's interface of log handlers, but imports nothing of Snakemake. Events are documented in
`snakemake_interface_logger_plugins.common`.
"""

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from featurepaths.errors import FeaturePathsError
from featurepaths.report.results import counted_noun
from featurepaths.workflow.work import KINDS, Work, clock

LINES_OF_LOG = 12
"""Lines of a failed job's log that are shown."""
ECHOES = ("At least one job did not complete", "Exiting because a job execution failed")
"""Beginnings of Snakemake's messages that repeat that a job has failed."""


class Display(logging.Handler):
    """Show the progress of a run, and every failed job once.

    On a terminal there is a bar for each kind of work, with the networks and attacks at work, and the time. Elsewhere a
    line is written when the first job of a kind starts on a network. Messages that concern no run, such as those of
    `--list-rules`, are shown at the end if nothing ran.

    Attributes
    ----------
    executed
        Whether Snakemake has tried to run jobs, or to find out that there are none to run.
    """

    writes_to_file, has_filter, has_formatter, needs_rulegraph = False, True, True, False

    def __init__(self, console: Console, *, silent: bool = False) -> None:
        """Write to a console; a `silent` display leaves all output to Snakemake, and only notes what happens."""
        super().__init__()
        self.console, self.writes_to_stream = console, not silent
        self.executed = False
        self._work: Work | None = None
        self._bars: Progress | None = None
        self._begun: set[tuple[str, str]] = set()
        self._held: list[str] = []
        self._ends: list[str] = []
        self._failed = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, if it concerns the user."""
        try:
            event = getattr(record, "event", None)
            if event == "workflow_started":
                self.executed = True
            if self.writes_to_stream:
                getattr(self, f"_{event}", self._message)(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """End the display: stop the bars, and state what was done."""
        if self._bars:
            self._update()
            self._bars.stop()
        if not self.executed:
            for text in self._held:
                self._print(text)
        elif work := self._work:
            failed = f"; {counted_noun(self._failed, 'attempt')} failed" if self._failed else ""
            took = clock(time.monotonic() - work.began)
            self._print(f"{work.done.total()} of {work.total.total()} jobs done in {took}{failed}.")
        self._bars = self._work = None
        self._held = []
        super().close()

    def _message(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if (mark := f"{FeaturePathsError.__name__}: ") in text:  # of the configuration; where it was raised is no news
            lines = text.partition(mark)[2].splitlines()
            text = "Error: " + "\n".join(line for line in lines if not line.startswith('  File "'))
        if text.startswith("RuleException:\nCalledProcessError"):
            self._ends.append(text)  # the event of the failed job follows
        elif record.levelno >= logging.WARNING:
            if not (self._failed and text.lstrip().removeprefix("WorkflowError:").lstrip().startswith(ECHOES)):
                self._print(text, "yellow" if record.levelno == logging.WARNING else "red")
        elif text.startswith("Nothing to be done"):
            self._print("Nothing to be done: all results are up to date.")
        elif not self.executed and not hasattr(record, "event"):
            self._held.append(text)

    def _run_info(self, record: Any) -> None:
        self._work = Work(record.stats, time.monotonic())
        if self.console.is_interactive:
            self._bars = _bars(self.console)
            self._tasks = {
                kind: self._bars.add_task(kind, total=self._work.total[kind], now=lambda kind=kind: self._at_work(kind))
                for kind in KINDS
                if self._work.total[kind]
            }
            self._all = self._bars.add_task("all", total=self._work.total.total(), now=self._times)
            self._bars.start()
        else:
            self._print(f"{self._work.total.total()} jobs to run")

    def _job_info(self, record: Any) -> None:
        if not (work := self._work) or not (
            job := work.start(record.jobid, record.rule_name, record.wildcards, time.monotonic())
        ):
            return
        if not self._bars and (job.kind, job.network) not in self._begun:
            self._begun.add((job.kind, job.network))
            elapsed = clock(job.start - work.began)
            self._print(f"{elapsed:>8} {work.share:4.0%}  {job.kind:<18} {job.network}".rstrip())

    def _job_finished(self, record: Any) -> None:
        if self._work:
            self._work.end(record.job_id, time.monotonic())
            self._update()

    def _job_error(self, record: Any) -> None:
        if not getattr(record, "indent", False):  # of a group, which is shown once as a whole
            self._show_failed(vars(record), [])

    def _group_error(self, record: Any) -> None:
        for job in record.job_error_info:
            if not all(Path(path).exists() for path in job["output"]):
                self._show_failed(job, record.aux_logs)
            elif self._work:  # Snakemake runs the group again as a whole
                self._work.end(job["jobid"], time.monotonic(), failed=True)

    def _ignore(self, _: Any) -> None:
        pass

    _workflow_started = _shellcmd = _job_started = _group_info = _resources_info = _ignore
    _debug_dag = _progress = _rulegraph = _ignore

    def _show_failed(self, job: dict[str, Any], others: list[str]) -> None:
        """Show a failed job: its rule, its output, the path of its log and the last lines of it."""
        if self._work:
            self._work.end(job["jobid"], time.monotonic(), failed=True)
        self._failed += 1
        end = next((end for end in self._ends if job["log"] and str(job["log"][0]) in end), "")
        status = f" ({match[0]})" if (match := re.search(r"exit status \d+|died with \S+", end[-80:])) else ""
        self._print(f"FAILED  {job['rule_name']}{status}: {', '.join(map(str, job['output'][:1]))}", "bold red")
        for path in [*job["log"], *others]:
            self._print(f"        log: {path}", "red")
            for line in _last_lines(Path(str(path))):
                self._print(f"        | {line}")

    def _at_work(self, kind: str) -> str:
        jobs = list(self._work.running.values()) if self._work else []
        return ", ".join(job.subject for job in jobs if job.kind == kind)

    def _times(self) -> str:
        if not self._work:
            return ""
        now = time.monotonic()
        remaining = self._work.seconds_left(now)
        estimate = f", about {clock(remaining)} left" if remaining is not None and self._work.share < 1 else ""
        return f"{clock(now - self._work.began)}{estimate}"

    def _update(self) -> None:
        if self._bars and self._work:
            for kind, task in self._tasks.items():
                self._bars.update(task, completed=self._work.done[kind])
            self._bars.update(self._all, completed=self._work.done.total())

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class _Now(ProgressColumn):
    """Current activity of a kind of work: the text that the field `now` of its bar returns, in one line."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["now"](), no_wrap=True, overflow="ellipsis", style="dim")


def _bars(console: Console) -> Progress:
    now = _Now(table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), MofNCompleteColumn(), now)
    return Progress(*columns, console=console, expand=True, refresh_per_second=2)


def _last_lines(path: Path) -> Iterator[str]:
    """Yield the last lines of a log, without those that a progress bar has overwritten."""
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        yield from (line for line in lines[-LINES_OF_LOG:] if line.strip())
