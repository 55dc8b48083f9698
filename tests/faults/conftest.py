"""What faults are injected, how often and with what outcome: the tests write the table in docs/reliability.md."""

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
"""How often each fault was injected so far: by all tests, in one run of them."""
HEAD = "| fault | injected | outcome |\n|:--|--:|:--|\n"


def rows_of(text):
    """The rows of the table on the page, by their faults."""
    lines = TABLE.search(text)[0].splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def note(fault, injected, outcome):
    """Write a row of the table, in the place of the one that is there for the same fault."""
    INJECTED[fault] += injected
    with FileLock(Path(os.environ.get("TMPDIR", "/tmp"), "featurepaths-reliability.lock")):
        text = PAGE.read_text()
        rows = rows_of(text) | {fault: f"| {fault} | {INJECTED[fault]:,} | {outcome} |"}
        table = HEAD + "".join(f"{rows[fault]}\n" for fault in sorted(rows))
        if (made := TABLE.sub(lambda _: table, text)) != text:
            PAGE.write_text(made)


@pytest.fixture
def faults():
    """Call it when a fault was injected as often as said, with the outcome that the test has just asserted.

    What several tests say of the same fault adds up.

    A test that fails before it calls it leaves its old row as it is, and fails `make test-faults`.
    """
    return note
