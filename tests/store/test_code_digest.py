import shutil

import pytest

from featurepaths.experiment.stages import STAGES
from featurepaths.store import code_digest as digests

STREAMED = {"streamed_classes", "streamed_paths"}
ATTACKERS = {"attack", "adaptive", "controls"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package to edit."""
    copy = tmp_path / "featurepaths"
    shutil.copytree(digests.SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digests, "SOURCE", copy)
    forget()
    yield copy
    forget()


def forget():
    for function in vars(digests).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def affected(package, module, edit):
    """Which stages' code digests an edit of a module changes."""
    before = {stage: digests.code_digest(stage) for stage in STAGES}
    path = package / module
    path.write_text(edit(path.read_text()))
    forget()
    return {stage for stage in STAGES if digests.code_digest(stage) != before[stage]}


def test_stages_are_the_modules_that_run_as_programs():
    modules = (digests.SOURCE / "stages").glob("*.py")
    programs = {path.stem for path in modules if 'if __name__ == "__main__"' in path.read_text()}
    assert programs - {"batch"} == set(STAGES)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text + "\n\n# a comment\n",
        lambda text: text.replace('"""Norms of', '"""Distances of'),
        lambda text: text.replace("def project(", "\n\n\ndef project("),
        lambda text: text.replace("    delta = images - clean\n", "    delta = images - clean  # a remark\n"),
    ],
)
def test_comments_docstrings_and_blank_lines_do_not_count(package, edit):
    assert affected(package, "attacks/norms.py", edit) == set()


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("attacks/norms.py", {"train", *ATTACKERS}),  # imported by the training adversary and by the attacks
        ("attacks/apgd.py", ATTACKERS),
        ("attacks/torchattacks/runner.py", {"attack"}),
        ("adaptive/objectives.py", {"adaptive", "controls"}),
        ("detectors/base.py", {"detectors", "detector_evaluation", "adaptive", "controls"}),
        (
            "networks/resnet.py",
            {"train", "pretrained", "features", "detectors", "detector_evaluation", *STREAMED, *ATTACKERS},
        ),
        (
            "paths/equations.py",
            {
                "centroids",
                "paths",
                "detectors",
                "detector_evaluation",
                "threshold",
                "selection",
                "detection",
                "recognition",
                "adaptive",
                "worst_case",
                "controls",
                "run_figures",
                "explorer",
                *STREAMED,
            },
        ),
        ("paths/collapse.py", {"collapse", "threshold", "streamed_classes"}),
        ("defense/frozen.py", {"adaptive", "controls"}),
        ("defense/module.py", set()),
        ("library/defense.py", set()),  # which the package itself names, but only in a string
        ("defense/soft_decision.py", {"adaptive", "controls"}),
        ("report/figures/style.py", {"run_figures", "summary_figures", "comparison_figures"}),
        ("report/figures/adaptive.py", {"comparison_figures"}),
        ("report/page.py", {"tables", "comparison", "configuration"}),
        ("experiment/config/evaluation.py", set()),  # stages get their settings from their rules
        ("experiment/plan.py", set()),
        ("store/provenance.py", set(STAGES)),
        ("store/code_digest.py", set(STAGES)),
        ("stages/__init__.py", set(STAGES)),
    ],
)
def test_a_change_counts_for_the_stages_that_import_it(package, module, stages):
    assert affected(package, module, lambda text: text + "\nCHANGED = 1\n") == stages


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("report/verdict/prose.jinja", {"comparison"}),
        ("report/tables/tables.toml", {"tables", "comparison"}),
        ("report/explorer/explorer.js.jinja", {"explorer"}),
        ("report/datatables/load.js.jinja", {"tables", "comparison", "explorer"}),
        ("report/figures/figures.mplstyle", {"run_figures", "summary_figures", "comparison_figures"}),
    ],
)
def test_code_digest_edited_text_changes_stages_that_read_it(package, text, stages):
    assert affected(package, text, lambda content: content + "# changed\n") == stages


def test_relative_imports_are_followed(package):
    stage = package / "stages/centroids.py"
    stage.write_text(stage.read_text() + "\nfrom ..attacks import norms\nfrom . import cli as again\n")
    forget()
    assert "centroids" in affected(package, "attacks/norms.py", lambda text: text + "\nCHANGED = 1\n")


def test_library_versions_count_where_they_are_imported(monkeypatch):
    forget()
    before = {stage: digests.code_digest(stage) for stage in ("attack", "centroids")}
    forget()
    real = digests.version
    monkeypatch.setattr(digests, "version", lambda name: "0.0" if name == "torch" else real(name))
    assert digests.code_digest("attack") != before["attack"]
    assert digests.code_digest("centroids") == before["centroids"]
    forget()


def test_the_attack_library_counts_for_attacks_only(monkeypatch):
    forget()
    before = {stage: digests.code_digest(stage) for stage in STAGES}
    forget()
    real = digests.version
    monkeypatch.setattr(digests, "version", lambda name: "0.0" if name == "torchattacks" else real(name))
    assert {stage for stage in STAGES if digests.code_digest(stage) != before[stage]} == {"attack", "controls"}
    forget()


def test_digest_depends_on_settings_and_every_input_but_not_on_key_order():
    base = digests.digest_of("paths", {"a": 1, "b": 2}, ["x", "y"])
    assert base == digests.digest_of("paths", {"b": 2, "a": 1}, ["x", "y"])
    assert base != digests.digest_of("paths", {"a": 1, "b": 3}, ["x", "y"])
    assert base != digests.digest_of("paths", {"a": 1, "b": 2}, ["x", "z"])
    assert base != digests.digest_of("centroids", {"a": 1, "b": 2}, ["x", "y"])


def test_python_versions_agree_on_a_syntax_tree():
    """3.12 adds `type_params` to every function, 3.13 leaves empty fields out of its dumps."""
    tree = digests.ast.parse("def f(x: int = 1) -> str:\n    return f'{x}'\n")
    without = digests._plain(tree)
    tree.body[0].type_params = []
    assert digests._plain(tree) == without
    assert "type_params" not in str(without)


def libraries_of(stage):
    """Return the libraries that a stage, or any module of the package that it imports, names in an import."""
    waiting, visited = [f"featurepaths.stages.{stage}"], set()
    while waiting:
        module = waiting.pop()
        if module not in visited and module in digests._files():
            visited.add(module)
            waiting += digests._read(module).imported
    return {name.partition(".")[0] for module in visited for name in digests._read(module).imported}


@pytest.mark.parametrize(
    ("library", "stages"),
    [
        (
            "torch",
            {"data", "train", "pretrained", "features", "detectors", "detector_evaluation", *STREAMED, *ATTACKERS},
        ),
        ("matplotlib", {"run_figures", "summary_figures", "comparison_figures"}),
        ("pandas", {"tables", "comparison"}),
        (
            "scipy",  # Wilson's interval; McNemar's test; Student's t; the binomial test of accuracies
            {
                "detection",
                "detector_evaluation",
                "recognition",
                "worst_case",
                "tables",
                "comparison",
                "comparison_figures",
            },
        ),
        ("torchvision", {"data"}),
        ("PIL", {"data", "attack", "controls", "explorer"}),
    ],
)
def test_libraries_that_take_long_to_import_only_in_stages_that_need_them(library, stages):
    assert {stage for stage in STAGES if library in libraries_of(stage)} == stages


def test_code_remembered_gives_the_same_digests_and_only_of_the_same_code(package, tmp_path, monkeypatch):
    parsed = digests.code_digest("tables")
    monkeypatch.setenv(digests.MEMORY, str(tmp_path / "memory/code.json"))
    digests.remember_code(["tables"])
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(digests, "_parse", None)  # nothing is parsed
        assert digests.code_digest("tables") == parsed
    forget()
    (package / "stages/tables.py").write_text("x = 1\n")
    assert digests.code_digest("tables") != parsed


@pytest.mark.parametrize("content", ["", "[1]", '{"featurepaths.errors": 3}', '{"featurepaths.errors": []}'])
def test_code_memory_damaged_parses_again(content, tmp_path, monkeypatch):
    parsed = digests.code_digest("tables")
    (tmp_path / "code.json").write_text(content)
    monkeypatch.setenv(digests.MEMORY, str(tmp_path / "code.json"))
    forget()
    assert digests.code_digest("tables") == parsed
    forget()
