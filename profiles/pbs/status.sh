#!/bin/sh
# Print what became of a job of PBS: running, success or failed. `qstat -x` still knows jobs that have ended.
qstat -x -f "$1" 2>/dev/null | awk '
    $1 == "job_state" { state = $3 }
    tolower($1) == "exit_status" { status = $3 }
    END { print state != "F" && state != "C" ? "running" : status == "0" ? "success" : "failed" }'
