"""The site builds without a warning, and pages name what is there."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pkgutil import resolve_name

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.docs.pages import PAGES, name_of
from tests.experiments import ROOT

FILES = ("csv", "h5", "html", "json", "lock", "md", "png", "py", "svg", "tsv", "yaml")


def test_the_site_builds_without_a_warning(tmp_path):
    """Dead links and anchors within the site are warnings, and pages that nothing leads to."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "docs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    method = (tmp_path / "method.html").read_text()
    assert 'href="api.html#featurepaths.paths.equations.centroids"' in method, "formulas lead to their functions"
    assert r"\mu_c^l" in method


def links_in(page):
    for token in MarkdownIt().parse(page.read_text()):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if target and "://" not in target:
                yield target


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == ROOT], ids=name_of)
def test_links_of_pages_beside_the_site_lead_somewhere(page):
    for target in links_in(page):
        assert (ROOT / target.partition("#")[0]).exists(), target


SCHEMA = json.loads((ROOT / "schemas/config.schema.json").read_text())
KEYS = {key for part in [SCHEMA, *SCHEMA["$defs"].values()] for key in part.get("properties", {})}
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


def is_there(name):
    """Whether `name` is an object of the library, or a key of the configuration or of the default experiment."""
    *parents, last = name.split(".")
    if last in KEYS or last in DEFAULT.get(parents[0], {}):
        return True
    try:
        return resolve_name(f"featurepaths.{name}") is not None
    except (ImportError, AttributeError):
        return False


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_of_functions_are_those_of_the_library(page):
    """Every dotted name in `code` that begins with a module of the library."""
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        for child in token.children or []:
            name = child.content.removeprefix("featurepaths.")
            if child.type == "code_inline" and re.fullmatch(r"[a-z_]+(\.[A-Za-z_]+)+", name):
                first, last = name.split(".")[0], name.split(".")[-1]
                if last not in FILES and find_spec(f"featurepaths.{first}") is not None:
                    assert is_there(name), name
