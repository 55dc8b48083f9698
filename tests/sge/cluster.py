"""A real Grid Engine on this machine: four slots, two GPUs as a consumable, accounting.

``python -m tests.sge.cluster COMMAND ...`` runs a command with it. It needs root and Debian's packages `PACKAGES`,
installed with localhost as their master (`.ci/run`). The folders where Grid Engine keeps its queues and jobs are put
back at the end as they were.
"""

import os
import shutil
import socket
import sys
from pathlib import Path

from tests.services import background, run, run_on, said, stop_process, succeeds, wait_for, write

PACKAGES = ["gridengine-master", "gridengine-exec", "gridengine-client"]
PROGRAMS = ["sge_qmaster", "sge_execd", "qsub", "qconf", "qacct"]
SGE_ROOT = Path("/var/lib/gridengine")
CELL = SGE_ROOT / "default"
FOLDERS = [CELL / "common", Path("/var/spool/gridengine")]
SLOTS, GPUS = 4, 2

PARALLEL_ENVIRONMENT = """
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""


def why_not() -> str | None:
    """Return why no cluster can start on this machine, or None."""
    if os.geteuid() != 0:
        return "starting Grid Engine needs root"
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{', '.join(missing)} not found: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    return None


def start(folder: Path) -> None:
    """Start the cluster; returns when its queue takes jobs."""
    os.environ |= {"SGE_ROOT": str(SGE_ROOT), "SGE_CELL": CELL.name}
    (folder / "before").mkdir()
    for source in FOLDERS:
        run("cp", "-a", str(source), str(folder / "before" / source.name))
    (folder / "before/complete").touch()
    write(CELL / "common/act_qmaster", "localhost\n")
    write(CELL / "common/host_aliases", f"localhost {socket.gethostname()}\n")
    background(folder, "sge_qmaster")
    wait_for("the master", lambda: succeeds("qhost"))
    run("qconf", "-as", "localhost")
    change(folder, "global", ["qconf", "-sconf"], {"min_uid": "0", "min_gid": "0"}, ["qconf", "-Mconf"])
    scheduler = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
    change(folder, "scheduler", ["qconf", "-ssconf"], scheduler, ["qconf", "-Msconf"])
    change(folder, "complexes", ["qconf", "-sc"], {"gpu": "gpu INT <= YES YES 0 0"}, ["qconf", "-Mc"])
    background(folder, "sge_execd")
    wait_for("the execution host", lambda: "localhost" in said("qconf", "-sel"))
    run("qconf", "-rattr", "exechost", "complex_values", f"gpu={GPUS}", "localhost")
    write(folder / "smp", PARALLEL_ENVIRONMENT.lstrip())
    run("qconf", "-Ap", str(folder / "smp"))
    queue = {
        "qname": "all.q",
        "hostlist": "localhost",
        "pe_list": "smp",
        "slots": str(SLOTS),
        "load_thresholds": "NONE",
    }
    change(folder, "queue", ["qconf", "-sq"], queue, ["qconf", "-Aq"])
    wait_for("the queue", lambda: "all.q@localhost" in said("qstat", "-f"))


def change(folder: Path, name: str, show: list[str], values: dict[str, str], modify: list[str]) -> None:
    """Set the values of a configuration of Grid Engine, by the first words of its lines."""
    lines = [line for line in said(*show).splitlines() if line.split(maxsplit=1)[:1] not in [[key] for key in values]]
    write(folder / name, "\n".join([*lines, *(f"{key} {value}" for key, value in values.items())]) + "\n")
    run(*modify, str(folder / name))


def stop(folder: Path) -> None:
    """Stop what `start` started, and put the folders back."""
    succeeds("qdel", "-f", "-u", "*")
    for name in ("execd", "qmaster"):
        for pid in said("pidof", f"sge_{name}").split():
            stop_process(int(pid))
    if (folder / "before/complete").exists():
        for target in FOLDERS:
            shutil.rmtree(target)
            run("cp", "-a", str(folder / "before" / target.name), str(target))  # with owners, which copytree loses


if __name__ == "__main__":
    run_on(sys.modules[__name__])
