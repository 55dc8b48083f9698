"""Two Snakemakes in one folder, two experiments that share data, a reader while a writer writes."""

import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import yaml

from featurepaths.store.hdf5 import create_hdf5, open_hdf5
from featurepaths.store.origin import Origin
from featurepaths.store.provenance import read_origin
from tests.experiments import array_experiment, save_arrays
from tests.processes import Checkout, contents, wait_for

CONFIG = array_experiment(0.2)


def start(checkout, *arguments):
    words = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    return subprocess.Popen(
        words,
        cwd=checkout.folder,
        env=checkout.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_two_runs_in_one_folder_second_waits(tmp_path, faults):
    checkout = Checkout(tmp_path / "checkout", CONFIG)
    save_arrays(checkout.folder, 80, 4)
    alone = start(checkout)
    text, _ = alone.communicate()
    assert alone.returncode == 0, text
    expected = contents(checkout.results)

    shutil.rmtree(checkout.results)
    first = start(checkout)
    wait_for(lambda: checkout.processes("featurepaths.stages."), running=first)
    # the others wait for the first one, and find nothing left to do
    second = start(checkout)
    with (tmp_path / "log").open("w") as log:
        third = checkout.start(log)
        third.wait()
    text, _ = first.communicate()
    assert first.returncode == 0, text
    text, _ = second.communicate()
    assert second.returncode == 0, text
    assert "still" in text, "it waited"
    assert "Nothing to be done" in text
    text_of_third = (tmp_path / "log").read_text()
    assert third.returncode == 0, text_of_third
    assert "still" in text_of_third, "it waited"
    assert "Nothing to be done" in text_of_third
    assert contents(checkout.results) == expected
    faults("second `snakemake` or `make run` while one runs", 2, "waits, and finds nothing to do")


def test_two_experiments_sharing_data_both_whole(tmp_path, faults):
    checkout = Checkout(tmp_path / "checkout", CONFIG)
    save_arrays(checkout.folder, 80, 4)
    config = yaml.safe_load((checkout.folder / "config.yaml").read_text())
    for name in ("one", "two"):
        (checkout.folder / f"{name}.yaml").write_text(yaml.safe_dump(config | {"name": name}))
    both = [start(checkout, "--configfile", f"{name}.yaml") for name in ("one", "two")]
    for run in both:
        text, _ = run.communicate()
        assert run.returncode == 0, text
    results = [contents(checkout.folder / "results" / name) for name in ("one", "two")]
    differing = {name for name in results[0] if results[0][name] != results[1].get(name)}
    # the configuration and the explorer's headings hold the experiment's name
    assert {name.partition(".")[0] for name in differing} <= {"config", "tables/configuration", "explore"}, differing
    pages = [of["explore.html"] for of in results]
    for of_two in (b"<title>two:", b"<h1>two ", b'"experiment":"two"'):
        pages[1] = pages[1].replace(of_two, of_two.replace(b"two", b"one"))
    assert pages[0] == pages[1]
    assert results[0].keys() == results[1].keys()
    faults("two experiments that share data, at once", 1, "both whole, with the same numbers")


def test_artefact_replaced_while_read_either_version_whole(tmp_path, faults):
    path = tmp_path / "a.h5"
    reads, writes, done = 0, 0, threading.Event()

    def write():
        nonlocal writes
        while not done.is_set():
            with create_hdf5(path, Origin("a", f"{writes:020d}")) as file:
                file["x"] = np.full(50_000, writes)
            writes += 1

    writer = threading.Thread(target=write)
    writer.start()
    wait_for(path.exists)
    versions = set()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        read_origin(path)
        with open_hdf5(path) as file:
            values = np.unique(file["x"][:])
        assert len(values) == 1
        versions.add(int(values[0]))
        reads += 1
    done.set()
    writer.join()
    assert reads > 100
    assert len(versions) > 10
    faults("artefact replaced while it is read", len(versions), "the old version or the new one, whole")
