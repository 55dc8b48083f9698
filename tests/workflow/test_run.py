"""`featurepaths run`: from the installed package and from the checkout, killed, interrupted, and without PATH."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from featurepaths.runtime.run_lock import join
from tests.experiments import ROOT, TINY, small_experiment
from tests.installed import build_wheel, install
from tests.processes import wait_for

SMALL = small_experiment("run")
BARE = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "1"}
"""The environment of a shell in which nothing is activated."""
OF_CHECKOUT = [sys.executable, "-m", "featurepaths"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The program `featurepaths` of a wheel that is installed without the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    return install(build_wheel(folder), folder / "environment") / "featurepaths"


def begin(folder, *words, environment=BARE):
    """Start a program in a folder and a separate session, with its output in `log`."""
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            words, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs of a shell ignore it
        )  # fmt: skip


def outcome(folder, *words, environment=BARE):
    """Run a program in a folder; return its exit code and its output."""
    status = begin(folder, *words, environment=environment).wait()
    return status, (folder / "log").read_text()


def stages_in(folder):
    """The numbers of processes in a folder that run a stage."""
    stages = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if Path(entry, "cwd").resolve() == folder.resolve():
                words = Path(entry, "cmdline").read_bytes().split(b"\0")
                if b"python" in words[0] and any(word.startswith(b"featurepaths.stages.") for word in words):
                    stages.append(int(entry.name))
    return stages


def save(folder, config, name="mine.yaml"):
    (folder / name).write_text(yaml.safe_dump(config))


@pytest.fixture
def of_checkout():
    """The environment in which `python -m featurepaths` is this checkout's, and nothing is activated."""
    return BARE | {"PYTHONPATH": str(ROOT / "src")}


def test_installed_run_killed_and_called_again_equals_checkout(tiny, installed, tmp_path):
    save(tmp_path, TINY)
    run = begin(tmp_path, installed, "run", "mine.yaml")
    wait_for(lambda: [path for path in tmp_path.glob("results/tiny/*/logs/train.log") if path.read_text()], run)
    run.kill()
    run.wait()
    assert stages_in(tmp_path), "a training outlives its Snakemake"

    status, text = outcome(tmp_path, installed, "run", "mine.yaml")
    assert status == 0, text
    assert "still at work" in text
    tables = sorted(tiny.results.glob("tables/*.csv"))
    assert len(tables) > 10
    for path in tables:
        assert (tmp_path / "results/tiny/tables" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(text.splitlines()) <= 60, text
    assert "small-standard-s0" in text
    assert text.splitlines()[-2:] == ["Report: results/tiny/report.html", "Tables: results/tiny/tables"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".snakemake", "log", "mine.yaml", "results"]

    report = tmp_path / "results/tiny/report.html"
    time = report.stat().st_mtime_ns
    status, text = outcome(tmp_path, installed, "run", "mine.yaml")
    assert status == 0
    assert text.startswith("Nothing to be done")
    assert report.stat().st_mtime_ns == time
    # the checkout takes the results as its own
    tiny_again = outcome(
        tmp_path, *OF_CHECKOUT, "run", "mine.yaml", environment=BARE | {"PYTHONPATH": str(ROOT / "src")}
    )
    assert tiny_again[0] == 0
    assert "Nothing to be done" in tiny_again[1]


def test_plain_snakemake_outside_activated_environment_runs_jobs_with_its_python(tmp_path):
    save(tmp_path, SMALL)
    snakemake = Path(sys.executable).with_name("snakemake")
    words = [snakemake, "--snakefile", ROOT / "Snakefile", "--configfile", "mine.yaml", "--cores", "1"]
    status, text = outcome(tmp_path, *words, "--until", "data")
    assert status == 0, text
    assert (tmp_path / "results/run/data.h5").exists()


CONDA = """#!/bin/sh
# as much of conda as Snakemake calls: an environment's python notes that it runs, and is this one
case "$*" in
    "info --json") echo '{"conda_prefix": "BASE", "platform": "linux-64"}' ;;
    --version) echo "conda 24.7.1" ;;
    *"channel_priority"*) echo '{"get": {"channel_priority": "strict"}}' ;;
    *create*)
        while [ "$1" != --prefix ]; do shift; done
        mkdir -p "$2/bin"
        printf '#!/bin/sh\\ntouch "BASE/used"\\nexec "PYTHON" "$@"\\n' > "$2/bin/python"
        chmod +x "$2/bin/python" ;;
esac
"""


def test_jobs_run_with_python_of_their_conda_environment(tmp_path):
    base = tmp_path / "conda"
    (base / "bin").mkdir(parents=True)
    (base / "bin/conda").write_text(CONDA.replace("BASE", str(base)).replace("PYTHON", sys.executable))
    (base / "bin/conda").chmod(0o755)
    (base / "bin/activate").write_text('export PATH="$1/bin:$PATH"\n')
    save(tmp_path, SMALL)
    words = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", "mine.yaml"]
    words += ["--cores", "1", "--until", "data", "--sdm", "conda"]
    status, text = outcome(tmp_path, *words, environment=BARE | {"PATH": f"{base}/bin:{BARE['PATH']}"})
    assert status == 0, text
    assert (base / "used").exists()
    assert (tmp_path / "results/run/data.h5").exists()


def test_dry_run_and_parts_make_no_report_and_config_is_passed_on(tmp_path, of_checkout):
    save(tmp_path, SMALL, "config.yaml")
    words = [*OF_CHECKOUT, "run", "--cores", "1", "--"]
    status, text = outcome(tmp_path, *words, "--dry-run", environment=of_checkout)
    assert status == 0, text
    assert "results/run/data.h5" in text
    assert not (tmp_path / "results").exists()
    status, text = outcome(tmp_path, *words, "--until", "data", "--config", "name=other", environment=of_checkout)
    assert status == 0, text
    assert [path.name for path in tmp_path.glob("results/other/*") if path.is_file()] == ["data.h5"]
    assert not (tmp_path / "results/run").exists()


def test_run_without_configuration_takes_default_experiment_and_says_so(tmp_path, of_checkout):
    status, text = outcome(tmp_path, *OF_CHECKOUT, "run", "--", "--dry-run", environment=of_checkout)
    assert status == 0, text
    assert f"Configuration: {ROOT / 'config.yaml'}" in text
    assert "results/digits/data.h5" in text


@pytest.mark.parametrize("words", [["--lint"], ["--list-rules"], ["--summary"], ["--unlock"]])
def test_call_that_runs_no_jobs_does_not_wait_for_an_active_run(words, tmp_path):
    save(tmp_path, SMALL)
    at_work = tmp_path / ".snakemake/featurepaths/run.at-work"
    at_work.parent.mkdir(parents=True)
    program = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", "mine.yaml"]
    with join(at_work):
        called = begin(tmp_path, *program, *words)
        called.wait(timeout=120)
        text = (tmp_path / "log").read_text()
        assert "still at work" not in text
        assert called.returncode == 0 or words == ["--lint"], text  # which has remarks


def test_installed_run_in_folder_that_cannot_be_written_to_says_so_once(installed, tmp_path):
    save(tmp_path, SMALL)
    (tmp_path / ".snakemake/featurepaths").mkdir(parents=True)
    (tmp_path / ".snakemake/featurepaths/code").touch()  # the superuser may write to every folder
    status, text = outcome(tmp_path, installed, "run", "mine.yaml", "--", "--dry-run")
    assert status == 1
    assert "featurepaths/code" in text
    assert "Traceback" not in text


def test_failed_job_is_shown_once_with_its_log_and_fails_the_run(tmp_path, of_checkout):
    diverging = SMALL["training"]["standard"] | {"learning_rate": 1e9}
    save(tmp_path, SMALL | {"training": {"standard": diverging}})
    status, text = outcome(tmp_path, *OF_CHECKOUT, "run", "mine.yaml", environment=of_checkout)
    assert status == 1
    (log,) = tmp_path.glob("results/run/*/logs/train.log")
    message = log.read_text().strip().splitlines()[-1]
    assert message.startswith("Error: ")
    assert text.count(message) == 1
    assert text.count(str(log.relative_to(tmp_path))) == 1
    assert "Traceback" not in text
    assert "1 attempt failed" in text.splitlines()[-1]
    assert not (tmp_path / "results/run/report.html").exists()


def test_ctrl_c_ends_stages_and_next_run_needs_no_unlock(tmp_path, of_checkout):
    training = {"standard": SMALL["training"]["standard"] | {"epochs": 500}}
    save(tmp_path, SMALL | {"training": training})
    run = begin(tmp_path, *OF_CHECKOUT, "run", "mine.yaml", environment=of_checkout)
    wait_for(lambda: [path for path in tmp_path.glob("results/run/*/logs/train.log") if path.read_text()], run)
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(timeout=60) != 0
    wait_for(lambda: not stages_in(tmp_path))
    assert "Traceback" not in (tmp_path / "log").read_text()
    save(tmp_path, SMALL)
    status, text = outcome(
        tmp_path, *OF_CHECKOUT, "run", "mine.yaml", "--", "--until", "train", environment=of_checkout
    )
    assert status == 0, text


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run", "none.yaml"], "none.yaml"),
        (["run", "--profile", "none"], ", ".join(sorted(path.name for path in (ROOT / "profiles").iterdir()))),
        (["run", "--cores", "several"], "--cores"),
        (["run", "bad.yaml"], "attacks"),
        (["show", "results", "--", "--dry-run"], "--dry-run"),
    ],
)
def test_run_refuses_what_is_not_there(words, named, tmp_path, of_checkout):
    save(tmp_path, SMALL | {"attacks": {}}, "bad.yaml")
    status, text = outcome(tmp_path, *OF_CHECKOUT, *words, environment=of_checkout)
    assert status in (1, 2)
    assert named in text
    assert "Traceback" not in text
    assert "common.smk" not in text
