"""The lock, the environments and the public commands fit together."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_digests import STAGES

ROOT = Path(__file__).parents[1]


def locked():
    text = (ROOT / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", text, flags=re.MULTILINE)), text


def test_the_lock_is_exact_and_names_no_index():
    versions, text = locked()
    assert {"snakemake", "torch", "torchvision", "torchattacks", "numpy", "h5py", "pandas", "matplotlib"} <= set(
        versions
    )
    for block in re.split(r"\n(?=[a-z])", text):
        if "==" in block:
            assert "--hash=sha256:" in block, block.splitlines()[0]
    assert "http" not in text
    assert "--index" not in text


def test_the_conda_environment_has_the_locked_versions():
    environment = yaml.safe_load((ROOT / "envs/featurepaths.yaml").read_text())
    pins = dict(entry.split("==") for entry in environment["dependencies"][-1]["pip"])
    text = (ROOT / "requirements.lock").read_text()
    for name, version in pins.items():
        assert re.search(rf"^{name}=={re.escape(version)}\b", text, flags=re.MULTILINE), name


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself(stage):
    done = subprocess.run(
        [sys.executable, "-m", f"featurepaths.stages.{stage}", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "--settings" in done.stdout
    assert "JSON object" in done.stdout
