"""Fixtures that tests of several rooms share."""

import os

import pytest
from filelock import FileLock

from tests.experiments import TINY
from tests.processes import Workflow

# Several processes run tests: each torch is to take one core. Stages set their own threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The results of a tiny experiment with everything in it. Tests read them and leave them as they are.

    The first of several processes that run tests makes them, and the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    with FileLock(f"{folder}.lock"):
        workflow = Workflow(folder, TINY)
        if not (workflow.results / "config.json").exists():
            workflow()
    return workflow
