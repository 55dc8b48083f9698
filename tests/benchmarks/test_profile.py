import json
import subprocess
import sys

import pytest

from benchmarks.profile import HOOK, kind_of

BUSY = """
import time

def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""
PROGRAM = """
import sys
import torch
from busy import busy

class Slow(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        busy(0.4)
        return 2 * x

    @staticmethod
    def backward(context, gradient):
        busy(0.5)
        return 2 * gradient

class Network(torch.nn.Module):
    def forward(self, x):
        import slow_to_import
        return Slow.apply(x)

x = torch.ones(1, requires_grad=True)
torch.autograd.grad(torch.nn.Sequential(Network(), torch.nn.Identity())(x), x)
busy(0.7)
sys.exit(3)
"""


def test_hook_seconds_of_imports_passes_and_other_work(tmp_path):
    (tmp_path / "busy.py").write_text(BUSY)
    (tmp_path / "slow_to_import.py").write_text("from busy import busy; busy(0.3)")
    records = tmp_path / "records"
    records.mkdir()
    environment = {"PYTHONPATH": f"{HOOK}:{tmp_path}", "FEATUREPATHS_PROFILE": str(records)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    (record,) = (json.loads(path.read_text()) for path in records.iterdir())
    seconds = record["seconds"]
    assert 0.9 <= seconds["passes"] < 1.2  # forward and backward, without the import within
    assert 0.7 <= seconds["other"] < 1.0
    assert seconds["imports"] > 0.3 + 0.3  # torch's as well
    assert seconds["end"] > 0


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["python", "-m", "featurepaths.stages.attack", "--digest", "x"], "attack"),
        (["python", "-m", "featurepaths.stages.batch", "cpu", '["paths", []]', '["collapse", []]', '["paths", []]'],
         "paths, collapse"),
        (["/env/bin/python", "-m", "snakemake", "--cores", "2"], "snakemake"),
        (["/env/bin/other", "x"], "other"),
    ],
)  # fmt: skip
def test_kind_of_command_stage_or_program(command, kind):
    assert kind_of(command) == kind
