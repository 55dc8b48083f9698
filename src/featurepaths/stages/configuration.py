"""Configuration: the merged configuration -> config.json, with the versions and the machine it was used with."""

import json
import platform
import re
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
    libraries = ("featurepaths", "snakemake", "h5py", *DISTRIBUTIONS.values())
    folder = str(Path(__file__).parent)
    gpus = output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    content = {
        "configuration": arguments.settings.configuration,
        "versions": {"python": platform.python_version(), **{name: library_version(name) for name in libraries}},
        # with a mark where files differ from the revision; None outside a repository
        "revision": output_of("git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40") or None,
        "machine": {"processor": processor(), "system": platform.platform(), "gpu": gpus.splitlines()},
    }
    text = json.dumps(content, indent=2)
    with atomic(arguments.page) as temporary:
        temporary.write_text(page("Configuration and versions", f"<pre>{escape(text)}</pre>"), encoding="utf-8")
    write_json(arguments.config, content, cli.origin_of(arguments, cli.output_of(arguments)))


def processor():
    """Return the processor's name, as Linux reports it."""
    information = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", information.read_text()) if information.exists() else None
    return name[1].strip() if name else platform.processor()


def output_of(*words):
    """Return the output of a command, '' if it is not installed or fails."""
    if shutil.which(words[0]) is None:
        return ""
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


if __name__ == "__main__":
    cli.run("configuration", main)
