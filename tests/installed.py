"""Build the wheel, and install it in a separate environment that sees the packages of this one."""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from tests.experiments import ROOT


def build_wheel(folder):
    """Build the wheel of this checkout from a copy of its files in a folder, and return its path."""
    source = folder / "source"
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name in ("pyproject.toml", "README.md", "LICENSE", "src", "tests", "docs", *included["force-include"]):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = f"import os; os.chdir({str(source)!r}); from hatchling import build as b; b.build_wheel({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def install(wheel, folder):
    """Install a wheel without its dependencies in a new environment, and return the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (packages / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    shutil.unpack_archive(wheel, packages, "zip")
    program = folder / "bin/featurepaths"
    program.write_text(f"#!{folder}/bin/python\nfrom featurepaths.__main__ import main\nmain()\n")
    program.chmod(0o755)
    return folder / "bin"
