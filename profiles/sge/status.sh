#!/bin/sh
# Print what became of a job of Grid Engine: running, success or failed. The accounting has a job a little after its end.
state=$(qstat 2>/dev/null | awk -v job="$1" '$1 == job { print $5 }')
case $state in
*E*) echo failed ;;  # in an error state, in which it would stay
?*) echo running ;;
"")
    if ! record=$(qacct -j "$1" 2>/dev/null); then
        echo running
    elif echo "$record" | awk '$1 == "failed" || $1 == "exit_status" { if ($2 != 0) bad = 1 } END { exit bad }'; then
        echo success
    else
        echo failed
    fi
    ;;
esac
