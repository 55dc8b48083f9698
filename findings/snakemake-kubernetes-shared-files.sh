#!/usr/bin/env bash
# Snakemake's executor for Kubernetes cannot use a volume that all pods mount instead of a storage provider: the plugin
# declares that it implies no shared file system, and Snakemake then discards --shared-fs-usage before it looks at it. The
# option --kubernetes-persistent-volumes, which mounts such a volume, does not change that.
#
# Versions: snakemake 9.27.1, snakemake-executor-plugin-kubernetes 0.5.1, Python 3.11 to 3.13
# Seen: with --shared-fs-usage naming all that is shared, a dry run ends with exit code 1 and "If no shared filesystem is
#       assumed for input and output files, a default storage provider (--default-storage-provider) and default storage
#       prefix (--default-storage-prefix) has to be set."
#
# Exits with 0 while this is so, with 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv environment
environment/bin/pip install --quiet snakemake==9.27.1 snakemake-executor-plugin-kubernetes==0.5.1
cat > Snakefile <<'END'
rule all:
    output: "all.txt"
    shell: "touch {output}"
END
if environment/bin/snakemake --executor kubernetes --jobs 1 --dry-run --kubernetes-persistent-volumes claim:/work \
    --shared-fs-usage input-output persistence software-deployment sources source-cache storage-local-copies \
    > output.txt 2>&1; then
    cat output.txt
    echo "Changed: a dry run succeeds."
    exit 1
fi
grep "default storage provider" output.txt || { cat output.txt; echo "Changed: another error."; exit 1; }
