"""Configuration: the merged configuration -> config.json, with the versions and the machine it was used with."""

import json
import platform
import shutil
import subprocess
from html import escape
from pathlib import Path

from featurepaths.report.page import page
from featurepaths.stages import cli
from featurepaths.store.atomic import atomic
from featurepaths.store.code_digest import DISTRIBUTIONS, library_version
from featurepaths.store.jsonfile import write_json


def main(arguments):
    content = {
        "configuration": arguments.settings.configuration,
        "versions": {
            "python": platform.python_version(),
            **{name: library_version(name) for name in ("featurepaths", "snakemake", "h5py", *DISTRIBUTIONS.values())},
        },
        "revision": revision(),
        "machine": {"processor": processor(), "system": platform.platform(), "gpu": gpus()},
    }
    text = json.dumps(content, indent=2)
    with atomic(arguments.page) as temporary:
        temporary.write_text(page("Configuration and versions", f"<pre>{escape(text)}</pre>"), encoding="utf-8")
    write_json(arguments.config, content, cli.origin_of(arguments, cli.output_of(arguments)))


def revision():
    """Return the git revision of the code, with a mark where files differ from it; None outside a repository."""
    told = _said(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"])
    return told or None


def processor():
    """Return the processor's name, as Linux gives it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def gpus():
    """Return the names of the GPUs, none where there is no driver."""
    return _said(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()


def _said(words):
    if shutil.which(words[0]) is None:
        return ""
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


if __name__ == "__main__":
    cli.run("configuration", main)
