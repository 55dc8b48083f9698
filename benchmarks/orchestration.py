"""What Snakemake costs: one job, and a dry run of a thousand."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.measure import Result, seconds

ROOT = Path(__file__).parents[1]
JOBS = """
rule all:
    input:
        expand("{n}.txt", n=range(int(config["count"]))),


rule one:
    output:
        "{n}.txt",
    shell:
        "touch {output}"
"""


def measure() -> list[Result]:
    """Return seconds: of Snakemake's own work for one job, and of a dry run of the experiment with 1,000 jobs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "Snakefile").write_text(JOBS)
        few, many = 10, 60
        each = []
        for number in range(3):
            took = []
            for count in (few, many):
                where = ["--snakefile", folder / "Snakefile", "--directory", folder / f"{number}.{count}"]
                took.append(_snakemake(*where, "--cores", 1, "--config", f"count={count}"))
            each.append((took[1] - took[0]) / (many - few))
        config = yaml.safe_load((ROOT / "config.yaml").read_text())
        config["seeds"] = list(range(6))
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        arguments = ["--snakefile", ROOT / "Snakefile", "--configfile", folder / "config.yaml", "--dry-run", "--quiet"]
        dry = [_snakemake(*arguments, "--directory", folder / "dry") for _ in range(3)]
    return [
        Result("seconds that Snakemake adds to a job", sorted(each)[1], min(each), max(each)),
        Result("seconds of a dry run with 1,000 jobs", sorted(dry)[1], min(dry), max(dry)),
    ]


def _snakemake(*arguments: object) -> float:
    command = [sys.executable, "-m", "snakemake", *map(str, arguments)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environment, cwd=ROOT))
