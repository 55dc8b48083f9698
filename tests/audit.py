"""Look up the packages of requirements.lock in a database of known vulnerabilities; without a connection, skip it.

`python -m tests.audit` fails if a newer version fixes a vulnerability; `make lock UPGRADE=--upgrade` installs it.
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
# installed into a temporary folder: running and testing featurepaths needs none of its twenty packages
AUDITOR = "pip-audit==2.10.1"
SECONDS = 10


def main():
    """Audit the lock, or print why it cannot be audited."""
    try:
        socket.create_connection((DATABASE, 443), SECONDS).close()
    except OSError as error:
        print(f"Skipped: the database of known vulnerabilities, {DATABASE}, cannot be reached ({error}).")
        return
    with tempfile.TemporaryDirectory() as folder:
        # the environment may have no pip: see the Makefile
        pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["pip3"]
        subprocess.run([*pip, "install", "--quiet", "--no-warn-conflicts", "--target", folder, AUDITOR], check=True)
        report = Path(folder, "report.json")
        words = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--requirement", str(LOCK)]
        words += ["--vulnerability-service", "osv", "--format", "json", "--output", str(report)]
        done = subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": folder})
        if not report.exists():
            sys.exit(f"{AUDITOR} failed with {done.returncode}.")
        fixable, others = vulnerabilities(json.loads(report.read_text()))
    for line in others:
        print(f"No version fixes this yet: {line}")
    if fixable:
        sys.exit("\n".join(["Known vulnerabilities; take newer versions with make lock UPGRADE=--upgrade:", *fixable]))
    print("No known vulnerability that a newer version fixes.")


def vulnerabilities(report):
    """The lines of the known vulnerabilities in pip-audit's report: those that a version fixes, and the others."""
    entries = [
        (each["fix_versions"], f"{package['name']} {package['version']}: {each['id']}")
        for package in report["dependencies"]
        for each in package.get("vulns", [])
    ]
    fixable = [f"{line}, fixed in {', '.join(versions)}" for versions, line in entries if versions]
    return fixable, [line for versions, line in entries if not versions]


if __name__ == "__main__":
    main()
