"""Stages as processes, as Snakemake starts them or as a user does."""

import subprocess
import sys


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
