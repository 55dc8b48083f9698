"""docs/artefacts.md names every file of an experiment and everything in it, and nothing else.

Its headings are patterns of files, and the first columns of the tables below them name what these hold.
"""

import csv
import json
import re

import h5py
import pytest
from safetensors import safe_open

from tests.experiments import ROOT

PAGE = (ROOT / "docs/artefacts.md").read_text()
CODE = re.compile("`([^`]+)`")
NOT_LISTED = {"config.json": ("configuration", "versions")}
"""Keys whose content is described elsewhere."""
CHOSEN = re.compile(r"paper|held-out|(balanced_accuracy\.)?(otsu|fpr-\d+)|(first|last)-success|max-loss")
"""Keys that are the names of protocols, thresholds and stopping rules, not of what is stored."""


def sections():
    """By heading: its patterns of files, the names in the first column of its table, and all names in it."""
    for text in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        heading, _, body = text.partition("\n")
        rows = [row.split("|")[1] for row in re.findall(r"^\|.*", body, re.M)]
        yield heading, (CODE.findall(heading), CODE.findall(" ".join(rows)), set(CODE.findall(body)))


SECTIONS = dict(sections())
SHARED = SECTIONS["Metadata of every artefact"][2] | SECTIONS["Measures of a detector"][2]
REST = SECTIONS["Other files"][1]


def pattern(name):
    """A file's name with <placeholders> as a regular expression; a folder stands for all that is in it."""
    parts = re.split(r"<\w+>", name + "*" * name.endswith("/"))
    return "[^/]+".join(re.escape(part).replace(r"\*", ".*") for part in parts)


def all_files(results):
    return {str(path.relative_to(results)): path for path in results.rglob("*") if path.is_file()}


def test_every_file_has_its_place(tiny):
    named = [name for patterns, _, _ in SECTIONS.values() for name in patterns] + REST
    for name in all_files(tiny.results):
        assert any(re.fullmatch(pattern(each), name) for each in named), name


def names_in_json(content, left_out=()):
    """The keys of a JSON document, and of what is in it."""
    if isinstance(content, list):
        return set().union(*(names_in_json(each) for each in content))
    if not isinstance(content, dict):
        return set()
    return set(content).union(*(names_in_json(each) for key, each in content.items() if key not in left_out))


def names_in_hdf5(path):
    """The names of data sets, without the groups they are in, and of attributes."""
    names = set()
    with h5py.File(path) as file:
        names |= set(file.attrs)

        def note(name, item):
            names.update(item.attrs)
            inside = "learned" if "/learned/" in name else name.rpartition("/")[2]
            if isinstance(item, h5py.Dataset):
                names.add("layer1" if re.fullmatch(r"layer\d+", inside) else inside)

        file.visititems(note)
    return names


def names_in(name, path):
    match path.suffix:
        case ".json":
            return names_in_json(json.loads(path.read_text()), (*NOT_LISTED.get(name, ()), "origin", "files"))
        case ".csv":
            with path.open() as file:
                return {re.sub("_(low|high)$", "", column) for column in next(csv.reader(file))}
        case ".h5":
            return names_in_hdf5(path)
        case ".safetensors":
            with safe_open(path, framework="numpy") as file:
                return names_in_json(json.loads(file.metadata()["featurepaths"]), ("origin", "files"))


@pytest.mark.parametrize("heading", [heading for heading, (patterns, _, _) in SECTIONS.items() if patterns])
def test_everything_in_a_file_is_named_and_nothing_else(tiny, heading):
    patterns, first_column, named = SECTIONS[heading]
    matching = {
        name: path
        for name, path in all_files(tiny.results).items()
        if any(re.fullmatch(pattern(each), name) for each in patterns)
    }
    assert matching
    stored = set().union(*(names_in(name, path) for name, path in matching.items()))
    stored = {name for name in stored if not CHOSEN.fullmatch(name)}
    assert stored - named - SHARED == set(), "not on the page"
    assert set(first_column) - stored - {"layer2"} == set(), "not in the files"
