#!/usr/bin/env bash
# torch 2.14.1: torch.load reads a checkpoint with wrong CRC-32 checksums without an error or a warning.
#
# A checkpoint is a zip file, and every record in it has a CRC-32. torch.load does not check it, with or without
# weights_only and mmap, so a bit that flipped on a disk or in transit changes a weight. zipfile.ZipFile.testzip of the
# standard library, or `unzip -t`, detects it, so a loader can check before it reads.
#
# Observed with Python 3.11: one bit flipped among 1,000 zeros; testzip names the record; torch.load returns 999 zeros and a
# weight of 2.0, in each of three ways of loading.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
import zipfile
from pathlib import Path

import torch

torch.save({"weight": torch.zeros(1000)}, "whole.pth")
content = bytearray(Path("whole.pth").read_bytes())
content[content.find(bytes(2000)) + 1003] ^= 0x40
Path("flipped.pth").write_bytes(content)
damaged = zipfile.ZipFile("flipped.pth").testzip()
print("zipfile says that this record is damaged:", damaged)
assert damaged is not None
for options in ({}, {"mmap": True}, {"weights_only": False}):
    weight = torch.load("flipped.pth", **options)["weight"]
    print("torch.load", options, "returns weights that are not 0:", weight[weight != 0].tolist())
    assert (weight != 0).sum() == 1
PYTHON
