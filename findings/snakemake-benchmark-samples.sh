#!/usr/bin/env bash
# Snakemake 9.27.1: benchmark files miss what a job does after its first 15 seconds, up to 30 seconds of it.
#
# The job's processes are sampled every half second, 30 times, and then every 30 seconds; there is no sample at the end. So
# `max_rss` of a job that needs its memory last is that of its start, and `cpu_time` lacks up to 30 seconds.
# Memory requests set by these files are too low for such jobs. The kernel's account, `resource.getrusage`, has both.
#
# Observed with Python 3.11: the job takes 400 MB and 3 CPU seconds after 20 s; the file says 16 MB and 0.03 CPU seconds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check snakemake==9.27.1
cd "$folder"
cat > job.py <<'PYTHON'
import resource
import time

time.sleep(20)
block = b"x" * (400 << 20)
while time.process_time() < 3:
    pass
usage = resource.getrusage(resource.RUSAGE_SELF)
print(f"the kernel: {usage.ru_maxrss / 1024:.0f} MB, {usage.ru_utime + usage.ru_stime:.1f} CPU seconds")
PYTHON
cat > Snakefile <<'SNAKEFILE'
rule job:
    output:
        "done",
    benchmark:
        "job.tsv"
    shell:
        "python3 job.py > {output}"
SNAKEFILE
env/bin/snakemake --cores 1 --quiet all
cat "done"
env/bin/python - <<'PYTHON'
import csv

with open("job.tsv") as file:
    (row,) = csv.DictReader(file, delimiter="\t")
print(f"Snakemake: {row['max_rss']} MB, {row['cpu_time']} CPU seconds, in {row['s']} s")
assert float(row["s"]) < 45, "the machine is too busy: the job lasted until the next sample"
assert float(row["max_rss"]) < 200 and float(row["cpu_time"]) < 1.5
PYTHON
