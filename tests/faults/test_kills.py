"""Everything is killed, at random moments: the end is as if it had not been, and nothing runs twice."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import yaml

from tests.experiments import ROOT, TINY
from tests.processes import Checkout, contents, wait_for

KILLS = int(os.environ.get("KILLS", "50"))
KILLED = os.environ.get("KILLED", "")
SOME_SECONDS = 45.0 if KILLED else 9.0
"""A run is killed after that many seconds at most: it takes some three until its first stage starts."""


def kill(checkout, chance):
    """Kill a running stage, Snakemake, or everything; return what it was."""
    stages, snakemakes = checkout.processes("featurepaths.stages."), checkout.processes("featurepaths run")
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


def test_next_run_waits_for_stage_whose_python_is_still_starting(tmp_path):
    slow, began = tmp_path / "slow", tmp_path / "began"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import pathlib, sys, time\n"
        "if any(word.startswith('featurepaths.stages.') for word in sys.orig_argv):\n"
        f"    pathlib.Path({str(began)!r}).touch()\n"
        "    time.sleep(3)\n"
    )
    checkout = Checkout(tmp_path / "checkout", TINY)
    checkout.environment["PYTHONPATH"] = f"{slow}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    run = checkout.start(subprocess.DEVNULL)
    wait_for(began.exists, run)
    for snakemake in checkout.processes("featurepaths run"):
        os.kill(snakemake, signal.SIGKILL)
    run.wait()
    assert checkout.there() == {}
    at_work = checkout.folder / f".snakemake/featurepaths/{TINY['name']}.at-work"
    waiting = "import sys; from featurepaths.runtime.run_lock import wait; wait(sys.argv[1])"
    subprocess.run([sys.executable, "-c", waiting, at_work], check=True, timeout=60)
    assert checkout.there() != {}


def test_make_run_killed_at_random_same_files_and_no_job_twice(undisturbed, tmp_path, faults):
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
        waited += bool(re.search(r"\bstill\b", text))
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
