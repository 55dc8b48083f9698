"""The limits of a machine and of partitions, and what a profile requests a GPU by."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment import limits
from featurepaths.experiment.limits import largest_partition, machine_gpus, machine_memory_mb, parse_resources


@dataclass
class Partition:
    max_runtime: float = float("inf")
    max_mem_mb: float = float("inf")
    max_gpu: int = 0


SHORT, LONG = Partition(60, 64_000, 4), Partition(6_000, 9_000, 1)
CPU = Partition(9_000, 500_000)


def test_largest_partition_is_longest_that_fits():
    assert largest_partition([SHORT, LONG, CPU], gpus=0, mb=1_000) == (500_000, 9_000)
    assert largest_partition([SHORT, LONG, CPU], gpus=1, mb=1_000) == (9_000, 6_000)
    assert largest_partition([SHORT, LONG, CPU], gpus=1, mb=9_001) == (64_000, 60)
    assert largest_partition([SHORT, LONG, CPU], gpus=2, mb=1_000) == (64_000, 60)


@pytest.mark.parametrize("partitions", [[], [CPU], [LONG]])
def test_no_partition_that_fits_no_limit(partitions):
    assert largest_partition(partitions, gpus=1, mb=10_000) == (float("inf"), float("inf"))


def test_plugins_own_partitions_are_read(tmp_path):
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm.partitions")
    file = tmp_path / "partitions.yaml"
    file.write_text("partitions: {long: {max_runtime: 2d, max_mem_mb: 8000, max_gpu: 1}, any: {}}")
    partitions = [partition.limits for partition in plugin.read_partition_file(file)]
    assert largest_partition(partitions, gpus=1, mb=100) == (8_000, 2 * 24 * 60)
    assert largest_partition(partitions, gpus=0, mb=100) == (float("inf"), float("inf"))


def test_memory_of_machine_is_that_of_the_kernel(monkeypatch, tmp_path):
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kilobytes = int(next(line for line in lines if line.startswith("MemTotal")).split()[1])
    monkeypatch.setattr(limits, "CGROUPS", tmp_path)
    monkeypatch.setattr(limits, "OWN_CGROUP", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("0::/slurm/job_7\n")
    (tmp_path / "slurm/job_7").mkdir(parents=True)
    assert machine_memory_mb() == pytest.approx(kilobytes / 1024, rel=0.001)
    (tmp_path / "slurm/job_7/memory.max").write_text("max\n")
    assert machine_memory_mb() == pytest.approx(kilobytes / 1024, rel=0.001)
    (tmp_path / "slurm/memory.max").write_text(f"{700 * 2**20}\n")
    assert machine_memory_mb() == 700
    (tmp_path / "slurm/job_7/memory.max").write_text(f"{512 * 2**20}\n")
    assert machine_memory_mb() == 512


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("0", 1), ("", 0), ("0,1,2", 2)])
def test_gpus_are_those_that_are_listed_and_visible(visible, count, tmp_path, monkeypatch):
    listing = "GPU 0: A (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\nGPU 1: A (UUID: GPU-2)\n"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine_gpus() == count


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 9\n"])
def test_no_gpu_without_a_working_nvidia_smi(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    if script:
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)
    assert machine_gpus() == 0


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("", {}),
        ("gpu_model=h100", {"gpu_model": "h100"}),
        ("request_gpus=1; qos = gpu ;", {"request_gpus": 1, "qos": "gpu"}),
        ('lsf_extra=-gpu "num=1:mode=shared"', {"lsf_extra": '-gpu "num=1:mode=shared"'}),
        ("sge_resources=gpu=1", {"sge_resources": "gpu=1"}),
    ],
)
def test_gpu_resources_become_names_and_values(text, resources):
    assert parse_resources(text) == resources


@pytest.mark.parametrize("text", ["h100", "gpu_model=", "=1", "gpu-model=h100"])
def test_gpu_resources_without_name_or_value_raise(text):
    with pytest.raises(FeaturePathsError, match="gpu_resources"):
        parse_resources(text)
