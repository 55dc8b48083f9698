"""Look what the lock names up in a database of known vulnerabilities; without one there is nothing to be done.

`python -m tests.audit` fails where a version that mends one exists: `make lock UPGRADE=--upgrade` takes it.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.experiments import ROOT

LOCK = ROOT / "requirements.lock"
DATABASE = "api.osv.dev"
# in a folder of its own: some twenty packages that nobody needs to run or test featurepaths
AUDITOR = "pip-audit==2.10.1"
SECONDS = 10


def main():
    """Audit the lock, or say why not."""
    try:
        socket.create_connection((DATABASE, 443), SECONDS).close()
    except OSError as error:
        print(f"Skipped: the database of known vulnerabilities, {DATABASE}, cannot be reached ({error}).")
        return
    with tempfile.TemporaryDirectory() as folder:
        # the environment may have no pip of its own: see the Makefile
        pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["pip3"]
        subprocess.run([*pip, "install", "--quiet", "--no-warn-conflicts", "--target", folder, AUDITOR], check=True)
        report = Path(folder, "report.json")
        words = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--requirement", str(LOCK)]
        words += ["--vulnerability-service", "osv", "--format", "json", "--output", str(report)]
        done = subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": folder})
        if not report.exists():
            sys.exit(f"{AUDITOR} failed with {done.returncode}.")
        to_mend, others = vulnerabilities(json.loads(report.read_text()))
    for line in others:
        print(f"No version mends this yet: {line}")
    if to_mend:
        sys.exit("\n".join(["Known vulnerabilities; take newer versions with make lock UPGRADE=--upgrade:", *to_mend]))
    print("No known vulnerability that a newer version mends.")


def vulnerabilities(report):
    """The known vulnerabilities that a version mends, and the others, a line each, of pip-audit's report."""
    found = [
        (each["fix_versions"], f"{package['name']} {package['version']}: {each['id']}")
        for package in report["dependencies"]
        for each in package.get("vulns", [])
    ]
    to_mend = [f"{line}, mended in {', '.join(versions)}" for versions, line in found if versions]
    return to_mend, [line for versions, line in found if not versions]


if __name__ == "__main__":
    main()
