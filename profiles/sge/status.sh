#!/bin/sh
# Print what became of a job of Grid Engine: running, success or failed. The accounting has a job a little after its end;
# a job that neither qstat nor qacct knows in 30 calls has failed.
state=$(qstat 2>/dev/null | awk -v job="$1" '$1 == job { print $5 }')
unknown=.snakemake/sge/$1.unknown
case $state in
*E*) echo failed ;;  # in an error state, in which it would stay
?*) echo running ;;
"")
    if record=$(qacct -j "$1" 2>/dev/null); then
        echo "$record" | awk '
            $1 == "failed" || $1 == "exit_status" { if ($2 != 0) bad = 1 }
            END { print bad ? "failed" : "success" }'
    else
        echo x >> "$unknown"
        [ "$(wc -l < "$unknown")" -le 30 ] && echo running || echo failed
    fi
    ;;
esac
