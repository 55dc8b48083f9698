"""A real SLURM on this machine: two nodes, two fake GPUs, accounting in MariaDB.

``python -m tests.slurm.cluster COMMAND ...`` runs a command with it. It needs root and Debian's packages `PACKAGES`.
All files are in a temporary folder, except the configuration in /etc/slurm, where the jobs of Snakemake need it, and
munge's folders.
"""

import os
import shutil
import socket
import sys
from pathlib import Path

from tests.services import background, run, run_on, said, stop_process, succeeds, wait_for, write

PACKAGES = ["slurm-wlm", "munge", "slurmdbd", "mariadb-server"]
PROGRAMS = ["slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "sacct", "sbatch"]
CONFIGURATION = Path("/etc/slurm")
FILES = ["slurm.conf", "gres.conf", "slurmdbd.conf"]
MINE = "# made by featurepaths' tests\n"
GPUS, MODEL = 2, "h100"

SLURM = """
ClusterName=featurepaths
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17000
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=5
ReturnToService=2
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=17003
AccountingStorageTRES=gres/gpu,gres/gpu:{model}
AccountingStoreFlags=job_comment
GresTypes=gpu
MailProg=/bin/true
MpiDefault=none
KillWait=5
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=4 RealMemory=9000 Gres=gpu:{model}:{gpus}
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=4 RealMemory=9000
PartitionName=cpu Nodes=node1,node2 Default=YES MaxTime=600
PartitionName=gpu Nodes=node1 MaxTime=600
"""
ACCOUNTING = """
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=17003
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=17004
StorageUser=slurm
StorageLoc=slurm_acct_db
"""
DATABASE = """
[mariadbd]
datadir={folder}/database
socket={folder}/mariadb.sock
pid-file={folder}/mariadb.pid
log-error={folder}/mariadb.log
bind-address=127.0.0.1
port=17004
user=root
innodb_buffer_pool_size=64M
innodb_lock_wait_timeout=900
skip-name-resolve
"""


def why_not() -> str | None:
    """Return why no cluster can start on this machine, or None."""
    if os.geteuid() != 0:
        return "starting SLURM needs root"
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{', '.join(missing)} not found: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
    for name in FILES:
        here = CONFIGURATION / name
        if here.exists() and not here.read_text().startswith(MINE):
            return f"{here} was not written by these tests: this machine belongs to a cluster"
    return None


def start(folder: Path) -> None:
    """Start the cluster; returns when both nodes are idle."""
    for name in ("state", "spool/node1", "spool/node2", "dev", "database"):
        (folder / name).mkdir(parents=True)
    values = {"folder": folder, "host": socket.gethostname(), "gpus": GPUS, "model": MODEL}
    for number in range(GPUS):  # a fake GPU still has to be a device
        os.mknod(folder / f"dev/gpu{number}", 0o666 | 0o020000, os.makedev(1, 3))
    write(folder / "my.cnf", DATABASE.format(**values))
    write(CONFIGURATION / "slurm.conf", MINE + SLURM.format(**values))
    write(
        CONFIGURATION / "gres.conf", f"{MINE}NodeName=node1 Name=gpu Type={MODEL} File={folder}/dev/gpu[0-{GPUS - 1}]\n"
    )
    write(CONFIGURATION / "slurmdbd.conf", MINE + ACCOUNTING.format(**values), mode=0o600)

    munge(folder)
    run("mariadb-install-db", f"--defaults-file={folder}/my.cnf", "--auth-root-authentication-method=normal")
    background(folder, "mariadbd", f"--defaults-file={folder}/my.cnf")
    user = "slurm@'127.0.0.1'"
    sql = f"CREATE DATABASE slurm_acct_db; CREATE USER {user}; GRANT ALL ON slurm_acct_db.* TO {user};"
    wait_for("the database", lambda: succeeds("mariadb", f"--socket={folder}/mariadb.sock", "-e", "SELECT 1"))
    run("mariadb", f"--socket={folder}/mariadb.sock", "-e", sql)
    background(folder, "slurmdbd", "-D")
    wait_for("the accounting", lambda: succeeds("sacctmgr", "-n", "show", "cluster"))
    run("sacctmgr", "-i", "add", "cluster", "featurepaths")
    run("sacctmgr", "-i", "add", "account", "research")
    run("sacctmgr", "-i", "add", "user", "root", "account=research")
    background(folder, "slurmctld", "-D", "-c")
    wait_for("the controller", lambda: succeeds("scontrol", "ping"))
    for node in ("node1", "node2"):
        background(folder, "slurmd", "-D", "-N", node, name=f"slurmd.{node}")
    wait_for("the nodes", lambda: said("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 3)


def stop(folder: Path) -> None:
    """Stop what `start` started, and remove the configuration."""
    succeeds("scancel", "--user", "root")
    for name in ("slurmd.node2", "slurmd.node1", "slurmctld", "slurmdbd", "mariadbd"):
        pid = folder / f"{name}.started"
        if pid.exists():
            stop_process(int(pid.read_text()))
    if (folder / "munged.started").exists():
        succeeds("munged", "--stop")
    for name in FILES:
        (CONFIGURATION / name).unlink(missing_ok=True)


def munge(folder: Path) -> None:
    """Start the authentication service, unless it runs."""
    if succeeds("munge", "-n"):
        return
    for path in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
        Path(path).mkdir(parents=True, exist_ok=True)
        shutil.chown(path, "munge", "munge")
    Path("/run/munge").chmod(0o755)
    run("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "/usr/sbin/munged")
    (folder / "munged.started").touch()
    wait_for("munge", lambda: succeeds("munge", "-n"))


if __name__ == "__main__":
    run_on(sys.modules[__name__])
