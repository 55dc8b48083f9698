"""Everything is killed, at random moments: the end is as if it had not been, and nothing runs twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT, TINY

KILLS = int(os.environ.get("KILLS", "50"))
KILLED = os.environ.get("KILLED", "")
SEEN_BY_SNAKEMAKE = ("Snakefile", "Makefile", "rules", "src", "captions", "profiles", "envs", "requirements.lock")
SOME_SECONDS = 45.0 if KILLED else 9.0
"""A run is killed after that many seconds at most: it takes some three until its first stage starts."""
KEPT_BOOKS = re.compile(r"(^|/)(logs|benchmarks)/|(report|configuration)\.html$|/config\.json$|/\.[^/]*$")
"""Files that say when, where or by which commit something was made, or belong to what is under way."""


class Checkout:
    """A copy of this checkout, in which `make run` works as for a user."""

    def __init__(self, folder, config):
        self.folder, self.results = folder, folder / "results" / config["name"]
        folder.mkdir()
        for name in SEEN_BY_SNAKEMAKE:
            (folder / name).symlink_to(ROOT / name)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def start(self, log):
        """Start `make run`, in a session of its own."""
        words = ["make", "run", f"ENV={sys.prefix}", "-o", f"{sys.prefix}/ready"]
        return subprocess.Popen(
            words, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, env=self.environment, start_new_session=True
        )

    def processes(self, what):
        """The numbers of processes here whose commands hold a text."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if not entry.name.isdecimal() or Path(entry, "cwd").resolve() != self.folder.resolve():
                    continue
                words = Path(entry, "cmdline").read_bytes().split(b"\0")
                if what in b" ".join(words).decode() and words[0].rpartition(b"/")[2].startswith(b"python"):
                    found.append(int(entry.name))
        return found

    def outputs_of_jobs(self):
        """The outputs of every job, as a dry run in an empty folder names them."""
        words = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--forceall"]
        text = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        found = [line.split(": ", 1)[1].split(", ") for line in text.splitlines() if line.startswith("    output: ")]
        return [outputs for outputs in found if outputs[0].startswith("results/")]

    def there(self):
        """When each file that is in its place was made."""
        return {
            str(path.relative_to(self.folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.results.rglob("*")
            if path.is_file() and not KEPT_BOOKS.search(str(path.relative_to(self.folder)))
        }


def contents(results):
    """What is in every file but those that say when something was made."""
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(results.rglob("*"))
        if path.is_file() and not KEPT_BOOKS.search(f"/{path.relative_to(results)}")
    }


def kill(checkout, chance):
    """Kill a running stage, Snakemake, or everything; return what it was."""
    stages, snakemakes = checkout.processes("featurepaths.stages."), checkout.processes("snakemake")
    if chance.random() < 0.2:
        victims, what = stages + snakemakes, "everything"
    elif stages and chance.random() < 0.5:
        victims, what = [chance.choice(stages)], "a stage"
    else:
        victims, what = snakemakes, "Snakemake"
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    return what if victims else None


@pytest.fixture
def undisturbed(request, tmp_path):
    """A configuration and what an undisturbed run of it made: TINY, or the one that KILLED names."""
    if not KILLED:
        return TINY, contents(request.getfixturevalue("tiny").results)
    config = yaml.safe_load((ROOT / KILLED).read_text())
    checkout = Checkout(tmp_path / "undisturbed", config)
    assert checkout.start(subprocess.DEVNULL).wait() == 0
    return config, contents(checkout.results)


def test_kills_change_nothing_and_nothing_that_had_finished_runs_again(undisturbed, tmp_path, faults):
    config, expected = undisturbed
    checkout = Checkout(tmp_path / "checkout", config)
    jobs = checkout.outputs_of_jobs()
    chance = random.Random(0)
    killed, finished, waited = dict.fromkeys(("a stage", "Snakemake", "everything"), 0), 0, 0
    log_path = tmp_path / "log"
    done = False
    while not done:
        before = checkout.there()
        with log_path.open("w") as log:
            run = checkout.start(log)
            saturate = sum(killed.values()) >= KILLS
            with suppress(subprocess.TimeoutExpired):
                run.wait(None if saturate else chance.uniform(0.2, SOME_SECONDS))
            if run.poll() is None and (what := kill(checkout, chance)):
                killed[what] += 1
            run.wait()
        text = log_path.read_text()
        waited += "is still at work" in text
        assert "Traceback" not in text, text
        after = checkout.there()
        for outputs in jobs:
            if set(outputs) <= before.keys():
                assert {name: after.get(name) for name in outputs} == {name: before[name] for name in outputs}, text
        done = saturate and run.returncode == 0  # in the end one run is left alone
        if run.returncode == 0:
            assert contents(checkout.results) == expected
            finished += 1
            if sum(killed.values()) < KILLS:
                shutil.rmtree(checkout.results)
        else:
            assert not saturate, text
    assert min(killed.values()) > 0
    assert waited > 0, "no stage outlived its Snakemake"
    left = [path for path in checkout.results.rglob(".*") if path.is_file()]
    assert left == [], "of what was half-written nothing is left"
    for what, count in killed.items():
        faults(
            f"SIGKILL of {what} at a random moment, then `make run`{f' ({KILLED})' if KILLED else ''}",
            count,
            "all files but logs byte for byte those of an undisturbed run; no finished job ran again",
        )
    print(f"{killed}, {finished} runs finished, {waited} waited for what was left")
