"""Code blocks of the pages: Python runs, configurations are valid, commands name existing rules and options.

A page that says ``<!-- needs: results/digits -->`` finds a finished experiment there: the tiny one, under the names of
the default one. ``<!-- skip: next -->`` leaves the next block out, ``<!-- skip: next if(..., reason="...") -->`` where
that holds.
"""

import re
import shlex
from contextlib import suppress
from importlib.util import find_spec
from unittest import SkipTest

import pytest
import yaml
from markdown_it import MarkdownIt
from snakemake.cli import get_argument_parser
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from featurepaths import __main__ as cli
from featurepaths.experiment.config.experiment import Experiment
from featurepaths.experiment.config.messages import read_experiment
from tests.docs.pages import PAGES, name_of
from tests.experiments import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {*re.findall(r"^([a-z-]+):", MAKEFILE, re.M), ".venv/ready"}
VARIABLES = set(re.findall(r"\$\(([A-Z]+)\)", MAKEFILE))
OPTIONS = {option for action in get_argument_parser()._actions for option in action.option_strings}
COMMANDS = {function.__name__ for function in (cli.new, cli.run, cli.show, cli.layers, cli.check)}
YOURS = {"adaptive.yaml", "mine.yaml", "three-seeds.yaml"}
"""Files that readers write."""
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())
OF_NAMES = ("models", "training", "attacks")
"""Sections that an example adds to, as its own entries stand beside those of the configuration it is put into."""


RUN_ELSEWHERE = {"own-data.md": "tests/workflow/test_own_data.py"}
"""Pages whose Python needs an experiment between its blocks, and the tests that run them."""


def pages_with(block):
    return [pytest.param(page, id=name_of(page)) for page in PAGES if block in page.read_text()]


@pytest.fixture
def digits(tiny, tmp_path):
    """The folder results/digits of the default experiment, made of the tiny one."""
    folder = tmp_path / "results/digits"
    folder.mkdir(parents=True)
    for path in tiny.results.iterdir():
        (folder / path.name.replace("small-", "resnet20-")).symlink_to(path)


@pytest.mark.parametrize("page", pages_with("```python"))
def test_python_runs(page, request, tmp_path, monkeypatch):
    if page.name in RUN_ELSEWHERE:
        assert page.name in (ROOT / RUN_ELSEWHERE[page.name]).read_text()
        return
    if "<!-- needs: results/digits -->" in page.read_text():
        request.getfixturevalue("digits")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    for example in Document.parse(str(page), SkipParser(), PythonCodeBlockParser()).examples():
        with suppress(SkipTest):
            example.evaluate()


def check_configuration(example):
    """A whole configuration, or sections of one, which then take their place in the default one."""
    given = yaml.safe_load(example.parsed)
    if "models" in given and "data" in given:
        read_experiment(given, example.path)
        return
    assert given.keys() <= Experiment.model_fields.keys(), f"{example.path}:{example.line}"
    sections = {key: DEFAULT[key] | value if key in OF_NAMES else value for key, value in given.items()}
    read_experiment(DEFAULT | sections, f"{example.path}:{example.line}")


@pytest.mark.parametrize("page", pages_with("```yaml"))
def test_configurations_are_valid(page):
    for example in Document.parse(str(page), SkipParser(), CodeBlockParser("yaml", check_configuration)).examples():
        example.evaluate()


def commands_in(page):
    """The words of every command in blocks that are not of another language, and of `make ...` within text."""
    for token in MarkdownIt().parse(page.read_text()):
        texts = [token.content] if token.type == "code_block" or (token.type, token.info) == ("fence", "sh") else []
        texts += [child.content for child in token.children or [] if child.type == "code_inline"]
        for text in texts:
            for line in text.replace("\\\n", " ").splitlines():
                for command in re.split(r"&&|\||;", line):
                    words = command.split()
                    if words and words[0] in ("make", "snakemake", "python", "featurepaths"):
                        yield shlex.split(command, comments=True)


def wrong_words(words):
    """The words of a command that name a target, an option, a module or a file that is not there."""
    program, *rest = words
    if program == "featurepaths" and "--" in words:  # the rest is Snakemake's
        program, rest = "snakemake", words[words.index("--") + 1 :]
        words = [program, *rest]
    executor = words[words.index("--executor") + 1] if "--executor" in words else "slurm"
    for before, word in zip(words, rest, strict=False):
        option, _, value = word.partition("=")
        there = True
        if program == "make":
            there = option in VARIABLES if value else word in TARGETS or word == "..."
        elif program == "snakemake" and word.startswith("--"):
            there = option in OPTIONS or option.startswith(f"--{executor}-")
        elif program == "python" and before == "-m":
            there = find_spec(word) is not None
        elif program == before == "featurepaths":
            there = word in COMMANDS
        file = value or word
        if re.fullmatch(r"[\w./-]+\.(yaml|py|md)", file):
            there = there and (file in YOURS or (ROOT / file).exists())
        if not there and "<" not in word:
            yield word


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in PAGES])
def test_commands_name_what_is_there(page):
    wrong = {word: words for words in commands_in(page) for word in wrong_words(words)}
    assert not wrong


def test_a_command_that_names_nothing_is_noticed():
    for command, word in [
        ("make lnt", "lnt"),
        ("make run CONFG=config.yaml", "CONFG=config.yaml"),
        ("make run CONFIG=configs/none.yaml", "CONFIG=configs/none.yaml"),
        ("snakemake --cores all --dryrn", "--dryrn"),
        ("snakemake --configfile configs/none.yaml", "configs/none.yaml"),
        ("python -m featurepaths.stages.attck --help", "featurepaths.stages.attck"),
        ("featurepaths shwo results/mine", "shwo"),
        ("featurepaths run mine.yaml -- --dryrn", "--dryrn"),
    ]:
        assert list(wrong_words(command.split())) == [word]
