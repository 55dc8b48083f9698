"""Run the workflow, its stages and `make run` as processes, and inspect or kill them."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import yaml

from featurepaths.store.hdf5 import create_hdf5
from featurepaths.store.provenance import read_origin
from tests.experiments import ROOT

SEEN_BY_SNAKEMAKE = ("Snakefile", "Makefile", "rules", "src", "captions", "profiles", "envs", "requirements.lock")
KEPT_BOOKS = re.compile(r"(^|/)(logs|benchmarks)/|(report|configuration)\.html$|/config\.json$|/\.[^/]*$")
"""Files that record when, where or from which commit something was made, and files of unfinished work."""


class Workflow:
    """An experiment in a separate folder, run by this checkout's Snakefile, with a configuration or its text."""

    def __init__(self, folder, config):
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        self.folder = folder
        self.results = folder / "results" / yaml.safe_load(text)["name"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(text)

    def __call__(self, *arguments, cores=2, succeeds=True, checkout=ROOT, environment=None):
        """Run snakemake, with further variables of the environment, and return all it printed."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(checkout / "Snakefile")]
        command += ["--directory", str(self.folder), "--configfile", str(self.folder / "config.yaml")]
        command += ["--cores", str(cores), *arguments]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **(environment or {})}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
        assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
        return done.stdout + done.stderr


def jobs(text):
    """The rules and counts that a dry run names, without those that only keep the books."""
    if "Nothing to be done" in text:
        return {}
    lines = text.partition("Job stats:")[2].splitlines()
    counted = [line.split() for line in lines[3:]]
    counts = {words[0]: int(words[1]) for words in counted[: counted.index([])]}
    return {rule: count for rule, count in counts.items() if rule not in ("all", "check", "total")}


@contextmanager
def edit_hdf5(path):
    """Open an HDF5 artefact to change it: it keeps its origin, and gets the checksum of what it holds in the end."""
    with h5py.File(path) as old, create_hdf5(path, read_origin(path)) as new:
        for name in old:
            old.copy(name, new)
        new.attrs.update(old.attrs)
        yield new


# Stages


def stage(name, *arguments):
    """Run a stage to its end and return it, with what it printed."""
    return finish([sys.executable, "-m", f"featurepaths.stages.{name}", *map(str, arguments)])


def command(name, params, **files):
    """A stage's command line: see `options`."""
    return [sys.executable, "-m", f"featurepaths.stages.{name}", *options(params, **files)]


def options(params, **files):
    """A stage's options, with the settings and digest of the plan; in names, `_` stands for `-`."""
    words = ["--settings", params["settings"], "--digest", params["digest"]]
    for option, value in files.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{option.replace('_', '-')}", *map(str, values)]
    return words


def finish(words, **options):
    """Run a command to its end and return it, with what it printed."""
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def refused(done, *expected):
    """Assert that a stage ended with one clear message, in which `expected` stands."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"\n{done.stderr}".count("\nError: ") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for text in expected:
        assert text in done.stderr


# Processes that are killed


def wait_for(condition, running=None, seconds=120, interval=0.01):
    """Wait until a condition holds; fail when the process `running` ends before it does, or after some seconds."""
    until = time.monotonic() + seconds
    while not condition():
        assert running is None or running.poll() is None, "the process ended before the condition held"
        assert time.monotonic() < until, f"the condition did not hold within {seconds} s"
        time.sleep(interval)


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
        """Start `make run`, in a separate session."""
        words = ["make", "run", f"ENV={sys.prefix}", "-o", f"{sys.prefix}/ready"]
        return subprocess.Popen(
            words, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, env=self.environment, start_new_session=True
        )

    def processes(self, what):
        """The numbers of processes here whose commands hold a text."""
        numbers = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if not entry.name.isdecimal() or Path(entry, "cwd").resolve() != self.folder.resolve():
                    continue
                words = Path(entry, "cmdline").read_bytes().split(b"\0")
                if what in b" ".join(words).decode() and words[0].rpartition(b"/")[2].startswith(b"python"):
                    numbers.append(int(entry.name))
        return numbers

    def outputs_of_jobs(self):
        """The outputs of every job, as a dry run in an empty folder names them."""
        words = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--forceall"]
        text = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        files_of_jobs = [
            line.split(": ", 1)[1].split(", ") for line in text.splitlines() if line.startswith("    output: ")
        ]
        return [outputs for outputs in files_of_jobs if outputs[0].startswith("results/")]

    def there(self):
        """When each file that is in its place was made."""
        return {
            str(path.relative_to(self.folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.results.rglob("*")
            if path.is_file() and not KEPT_BOOKS.search(str(path.relative_to(self.folder)))
        }


def contents(results):
    """Contents of every file but those that record times."""
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(results.rglob("*"))
        if path.is_file() and not KEPT_BOOKS.search(f"/{path.relative_to(results)}")
    }
