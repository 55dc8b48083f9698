#!/usr/bin/env bash
# safetensors 0.5.3, 0.8.0: the bytes of a file with two or more metadata entries differ from process to process.
#
# The entries are written in the order of a hash table whose seed differs per process, so the same tensors and metadata
# result in files with different checksums. A tool that compares checkpoints by a digest of the file, or expects the same
# bytes from a rerun, reports changes where there are none. With at most one entry the bytes are the same.
#
# Observed with Python 3.11, numpy 2.3.5: of 8 processes that wrote 6 entries, 8 different files; of 8 that wrote one, 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
for version in 0.5.3 0.8.0; do
    "$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.3.5
    for entries in 1 6; do
        for number in 1 2 3 4 5 6 7 8; do
            "$folder/env/bin/python" - "$folder/$entries.$number" "$entries" <<'PYTHON'
import sys
import numpy as np
from safetensors.numpy import load_file, save_file

path, entries = sys.argv[1], int(sys.argv[2])
save_file({"weight": np.arange(4.0)}, path, {f"key{number}": "value" for number in range(entries)})
assert np.array_equal(load_file(path)["weight"], np.arange(4.0))
PYTHON
        done
        different=$(sha256sum "$folder/$entries."* | cut -c1-64 | sort -u | wc -l)
        echo "safetensors $version, $entries metadata entries, 8 processes: $different different files"
        if [ "$entries" = 1 ]; then [ "$different" = 1 ]; else [ "$different" -gt 1 ]; fi
    done
done
