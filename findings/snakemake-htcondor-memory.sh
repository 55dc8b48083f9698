#!/usr/bin/env bash
# Snakemake's executor for HTCondor requests no memory for a rule's `mem_mb`, the resource that other executors read and
# that Snakemake derives from `mem`. It reads `request_memory` and `htcondor_request_mem_mb`. A job that declares 16 GB is
# submitted without a request, so it gets the pool's default.
#
# Versions: snakemake 9.27.1, snakemake-executor-plugin-htcondor 0.3.0, htcondor 24.12.24, Python 3.11 to 3.13
# Seen: the description for a rule with mem_mb=16000 has request_cpus and no request_memory; with
#       htcondor_request_mem_mb=16000 it has request_memory "16000MB".
#
# No HTCondor is needed: the script reads the description that the plugin hands to htcondor.Submit.
# Exits with 0 while this is so, with 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet snakemake==9.27.1 snakemake-executor-plugin-htcondor==0.3.0 htcondor==24.12.24
cat > Snakefile <<'END'
rule all:
    input: "usual.txt", "own.txt"

rule usual:
    output: "usual.txt"
    resources: mem_mb=16000
    shell: "touch {output}"

rule own:
    output: "own.txt"
    resources: htcondor_request_mem_mb=16000
    shell: "touch {output}"
END
cat > look.py <<'END'
import os
import snakemake_executor_plugin_htcondor as plugin
from snakemake.cli import main


class Seen(Exception):
    pass


def see(description):
    raise Seen(description)


def run_jobs(self, jobs):
    seen = {}
    for job in jobs:
        try:
            self.run_job(job)
        except Seen as error:
            seen[job.name] = error.args[0].get("request_memory")
    print(sorted(seen.items()), flush=True)
    os._exit(seen != {"usual": None, "own": "16000MB"})


plugin.htcondor.Submit = see
plugin.Executor.run_jobs = run_jobs
main(["--executor", "htcondor", "--jobs", "2", "--quiet"])
END
environment/bin/python look.py
