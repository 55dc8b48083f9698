"""Print where the CPU time of an experiment goes, by kind of job: imports, passes through networks, other work, end.

python -m benchmarks.profile [--configfile config.yaml] [--cores 2]

Runs the experiment in a temporary folder. `hook/sitecustomize.py` times every process, because the `cpu_time` of
Snakemake's benchmark files is sampled too rarely (see findings/snakemake-benchmark-samples.sh).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import table

ROOT = Path(__file__).parents[1]
HOOK = Path(__file__).with_name("hook")
STAGES = "featurepaths.stages."
ACTIVITIES = "imports", "passes", "other", "end"


def main() -> None:
    """Run the experiment and print its profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--cores", default="2")
    arguments = parser.parse_args()
    before = children_seconds()
    with tempfile.TemporaryDirectory() as temporary:
        config, cores = arguments.configfile.absolute(), arguments.cores
        records = profiled(ROOT, Path(temporary), "--configfile", config, "--cores", cores, "--quiet", "rules", "host")
    jobs: dict[str, list[dict[str, float]]] = {}
    for record in records:
        jobs.setdefault(kind_of(record["command"]), []).append(record["seconds"])
    count = len(records) - len(jobs.pop("snakemake"))
    rows = {kind: _sum(seconds) for kind, seconds in jobs.items()}
    rows = dict(sorted(rows.items(), key=lambda item: -sum(item[1].values())))
    total = _sum(list(rows.values()))
    lines = [_cells(kind, str(len(jobs[kind])), seconds) for kind, seconds in rows.items()]
    lines += [_cells("all jobs", str(count), total)]
    share = {activity: f"{seconds / sum(total.values()):.0%}" for activity, seconds in total.items()}
    print(table([*lines, {"job": "share", **share}]))
    rest = children_seconds() - before - sum(total.values())
    print(f"\nCPU seconds. Snakemake, shells, and the timing itself: {rest:.1f}.")


def workflow(checkout: Path, folder: Path, *arguments: object, environment: Mapping[str, str] | None = None) -> None:
    """Call a checkout's Snakemake in a folder, quietly; its jobs call the Python that this process runs in."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", checkout / "Snakefile", "--directory", folder]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # the profile in its folder `profiles` is the one of the working directory, if that has one
    done = subprocess.run(
        [*map(str, command), *map(str, arguments)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": "", "PATH": path, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"snakemake of {checkout} failed in {folder}:\n{done.stdout}\n{done.stderr}")


def profiled(checkout: Path, folder: Path, *arguments: object) -> list[dict]:
    """Call a checkout's Snakemake, and return the records of all Python processes that it starts, and of its own.

    Raises RuntimeError if one of them imported another checkout's package.
    """
    with tempfile.TemporaryDirectory() as temporary:
        environment = {"PYTHONPATH": str(HOOK), "FEATUREPATHS_PROFILE": temporary}
        workflow(checkout, folder, *arguments, environment=environment)
        records = [json.loads(path.read_text()) for path in Path(temporary).iterdir()]
    for record in records:
        if record["source"] and not Path(record["source"]).is_relative_to(checkout / "src"):
            raise RuntimeError(f"{record['command'][:4]} imported {record['source']}, not the code of {checkout}")
    return records


def kind_of(command: list[str]) -> str:
    """Return the stage that a process runs, or the stages of a batch; else the name of its program."""
    module = next((word for word in command if word.startswith(STAGES)), None)
    if module is None:
        return "snakemake" if any("snakemake" in word for word in command) else Path(command[0]).name
    if module != f"{STAGES}batch":
        return module.removeprefix(STAGES)
    steps = command[command.index(module) + 2 :]
    return ", ".join(dict.fromkeys(json.loads(step)[0] for step in steps))


def children_seconds() -> float:
    """Return the CPU seconds of all processes that this one started, with theirs, and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _sum(seconds: list[dict[str, float]]) -> dict[str, float]:
    return {activity: sum(each[activity] for each in seconds) for activity in ACTIVITIES}


def _cells(kind: str, count: str, seconds: dict[str, float]) -> dict[str, str]:
    cells = {activity: f"{value:.1f}" for activity, value in seconds.items()}
    return {"job": kind, "processes": count, **cells, "together": f"{sum(seconds.values()):.1f}"}


if __name__ == "__main__":
    main()
