"""The fixture `faults`, by which tests write the table of injected faults in docs/reliability.md."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock

from tests.experiments import ROOT

PAGE = ROOT / "docs/reliability.md"
TABLE = re.compile(r"(?<=<!-- faults -->\n).*?(?=<!-- end of faults -->)", re.DOTALL)
INJECTED = Counter()
"""How often this session has injected each fault."""
HEAD = "| fault | injected | outcome |\n|:--|--:|:--|\n"


def rows_of(text):
    """The rows of the page's table, by fault."""
    lines = TABLE.search(text)[0].splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def rewrite(change):
    """Replace the rows of the page's table by what `change` returns for them."""
    with FileLock(Path(os.environ.get("TMPDIR", "/tmp"), "featurepaths-reliability.lock")):
        text = PAGE.read_text()
        rows = change(rows_of(text))
        table = HEAD + "".join(f"{rows[fault]}\n" for fault in sorted(rows))
        if (page := TABLE.sub(lambda _: table, text)) != text:
            PAGE.write_text(page)


def note(fault, injected, outcome):
    """Add to the injections of a fault, and write its row of the table."""
    INJECTED[fault] += injected
    rewrite(lambda rows: rows | {fault: f"| {fault} | {INJECTED[fault]:,} | {outcome} |"})


@pytest.fixture
def faults():
    """A function of a fault, the number of its injections, and the outcome that the test has just asserted.

    Injections of one fault by several tests add up. A test that fails leaves the row as it was.
    """
    return note


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Collect what a worker of pytest-xdist has injected."""
    INJECTED.update(getattr(node, "workeroutput", {}).get("injected", {}))


def pytest_sessionfinish(session, exitstatus):
    """After a complete run, remove the rows that no test writes any more; those of KILLED need a run with it."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["injected"] = dict(INJECTED)
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    everything = [Path(argument).resolve() for argument in config.args] == [ROOT / "tests/faults"]
    if everything and exitstatus == 0 and not config.option.keyword and not reporter.stats.get("skipped"):
        rewrite(lambda rows: {fault: row for fault, row in rows.items() if fault in INJECTED or ".yaml)" in fault})
