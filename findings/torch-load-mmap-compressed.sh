#!/usr/bin/env bash
# torch 2.14.1: torch.load(mmap=True) reads other numbers from a file whose zip entries are compressed, without an error.
#
# torch.save stores its records uncompressed, and with mmap torch takes each record's bytes from the file as they are. In a
# file that was packed again with compression (zip, zipfile) these are compressed bytes. Where they are no fewer than the
# tensor's, as for noise or photographs, the tensor holds them; where they are fewer, torch fails with "Trying to resize
# storage that is not resizable". Without mmap both are read rightly, and the CRC-32 of the entries is right. A loader can
# refuse entries with ZipInfo.compress_type other than ZIP_STORED.
#
# Observed with Python 3.11: of 100,000 random bytes, none differ without mmap and 99,639 with it; zeros raise RuntimeError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
import zipfile

import torch


def packed_again(tensor):
    """Write a tensor, and the same file with compressed entries."""
    torch.save(tensor, "saved.pt")
    with zipfile.ZipFile("saved.pt") as saved, zipfile.ZipFile("packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in saved.namelist():
            packed.writestr(name, saved.read(name))


torch.manual_seed(0)
noise = torch.randint(0, 256, (100_000,), dtype=torch.uint8)
packed_again(noise)
differ = {mmap: int((torch.load("packed.pt", mmap=mmap) != noise).sum()) for mmap in (False, True)}
print("entries with wrong checksums:", zipfile.ZipFile("packed.pt").testzip())
print("numbers that differ of 100,000: without mmap", differ[False], "- with mmap", differ[True])
assert differ[False] == 0 and differ[True] > 90_000
packed_again(torch.zeros(100_000, dtype=torch.uint8))
try:
    torch.load("packed.pt", mmap=True)
except RuntimeError as error:
    print("zeros, with mmap:", error)
else:
    raise AssertionError("zeros were read")
PYTHON
