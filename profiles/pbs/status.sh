#!/bin/sh
# Print what became of a job of PBS: running, success or failed. `qstat -x` knows jobs that have ended, if the server keeps
# a history of jobs; a job that it does not know in 30 calls has failed.
unknown=.snakemake/pbs/$1.unknown
if record=$(qstat -x -f "$1" 2>/dev/null) && [ -n "$record" ]; then
    echo "$record" | awk '
        $1 == "job_state" { state = $3 }
        tolower($1) == "exit_status" { status = $3 }
        END { print state != "F" && state != "C" ? "running" : status == "0" ? "success" : "failed" }'
else
    echo x >> "$unknown"
    [ "$(wc -l < "$unknown")" -le 30 ] && echo running || echo failed
fi
