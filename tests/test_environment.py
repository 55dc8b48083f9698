"""The lock, the environments, the wheel and the public commands agree with one another."""

import re
import runpy
import sys
import tomllib
import zipfile
from email.parser import Parser

import pytest
import yaml
from packaging.requirements import Requirement

from featurepaths.experiment.stages import STAGES
from tests.audit import vulnerabilities
from tests.experiments import ROOT
from tests.installed import build_wheel

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]


def locked():
    text = (ROOT / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", text, flags=re.MULTILINE)), text


def test_lock_file_is_exact_and_names_no_index():
    versions, text = locked()
    assert {"snakemake", "torch", "torchvision", "torchattacks", "numpy", "h5py", "pandas", "matplotlib"} <= set(
        versions
    )
    for block in re.split(r"\n(?=[a-z])", text):
        if "==" in block:
            assert "--hash=sha256:" in block, block.splitlines()[0]
    assert "http" not in text
    assert "--index" not in text


def locked_for(python):
    """The locked versions for Linux and a version of Python, by name."""
    lines = re.findall(r"^([a-z0-9.-]+==[^\\\n]+)", locked()[1], flags=re.MULTILINE)
    platform = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux",
                "platform_machine": "x86_64", "implementation_name": "cpython",
                "platform_python_implementation": "CPython"}  # fmt: skip
    requirements = [Requirement(line) for line in lines]
    return {
        each.name: next(iter(each.specifier)).version
        for each in requirements
        if each.marker is None or each.marker.evaluate(platform)
    }


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.name)
def test_conda_environments_have_locked_versions(path):
    *others, pip = yaml.safe_load(path.read_text())["dependencies"]
    (python,) = (entry.removeprefix("python=") for entry in others if entry.startswith("python="))
    pins = dict(entry.split("==") for entry in pip["pip"])
    versions = locked_for(python)
    assert pins == {name: versions.get(name) for name in pins}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_lock_file_has_all_dependencies(python):
    extras = [name for names in PROJECT["optional-dependencies"].values() for name in names] + GROUPS["lock"]
    versions = locked_for(python)
    for asked in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert versions[asked.name.lower()] in asked.specifier, asked.name


def test_extras_leave_out_torchattacks_with_its_outdated_pins():
    extras = [name for names in PROJECT["optional-dependencies"].values() for name in names]
    assert not [name for name in [*PROJECT["dependencies"], *extras] if name.startswith("torchattacks")]
    assert GROUPS["lock"] == ["torchattacks==3.5.1"]


@pytest.mark.parametrize("requirement", PYPROJECT["build-system"]["requires"])
def test_lock_file_has_build_backend(requirement):
    """Because the checkout is installed without build isolation."""
    asked = Requirement(requirement)
    assert locked()[0][asked.name] in asked.specifier


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `pip install .` builds."""
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as file:
        yield file


def files_in(folder, base):
    """The files below a folder, by their paths from a base."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(base)) for path in files}


def test_wheel_contains_library_and_workflow_and_nothing_else(wheel):
    information = f"featurepaths-{PROJECT['version']}.dist-info/"
    library = {name for name in wheel.namelist() if not name.startswith(information)}
    folders = ("captions", "configs", "envs", "profiles", "rules", "schemas")
    workflow = {"Snakefile", "config.yaml"}.union(*(files_in(ROOT / name, ROOT) for name in folders))
    expected = files_in(ROOT / "src/featurepaths", ROOT / "src")
    assert library == expected | {f"featurepaths/workflow/{name}" for name in workflow}
    for name in workflow:
        assert wheel.read(f"featurepaths/workflow/{name}") == (ROOT / name).read_bytes(), name
    assert f"{information}licenses/LICENSE" in wheel.namelist()


def test_wheel_requirements_equal_those_of_project(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    asked = [each for each in metadata.get_all("Requires-Dist") if "extra ==" not in each]
    assert {str(Requirement(each)) for each in asked} == {str(Requirement(each)) for each in PROJECT["dependencies"]}
    assert metadata["Requires-Python"].replace(" ", "") in ("<3.14,>=3.11", ">=3.11,<3.14")
    assert metadata["License-Expression"] == "MIT"


def test_citation_file_is_complete():
    """The keys that the Citation File Format 1.2.0 asks for, and the package's own version and licence."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert paper["title"] in readme
    assert "CITATION.cff" in readme
    for author in paper["authors"]:
        assert f"{author['given-names']} {author['family-names']}" in readme


@pytest.mark.parametrize("stage", STAGES)
def test_stage_help_describes_every_stage(stage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [stage, "--help"])
    monkeypatch.delitem(sys.modules, f"featurepaths.stages.{stage}", raising=False)
    with pytest.raises(SystemExit) as exited:
        runpy.run_module(f"featurepaths.stages.{stage}", run_name="__main__")
    assert exited.value.code == 0
    text = capsys.readouterr().out
    assert "--settings" in text
    assert "JSON object" in text


def test_audit_separates_fixable_vulnerabilities():
    """In the form of pip-audit's report."""
    entries = [{"id": "A-1", "fix_versions": ["2.1"]}, {"id": "A-2", "fix_versions": []}]
    skipped = {"name": "local", "skip_reason": "not found"}
    report = {"dependencies": [{"name": "one", "version": "2.0", "vulns": entries}, skipped]}
    assert vulnerabilities(report) == (["one 2.0: A-1, fixed in 2.1"], ["one 2.0: A-2"])


def test_test_modules_import_no_other():
    """Shared parts of tests are in modules that hold no tests, such as tests/oracles.py."""
    imports = re.compile(
        r"^\s*from (?:tests\.[\w.]*)?\.?(?:test_\w+|conftest) import|^\s*import tests\.[\w.]*test_", re.M
    )
    assert [str(path) for path in (ROOT / "tests").rglob("*.py") if imports.search(path.read_text())] == []
