"""Digests of the recipes of artefacts, so that only artefacts that a change invalidates are recreated.

The digest of an artefact covers its stage's settings, the code that the stage runs and, cumulatively, the digests of
the stage's inputs. The rules compute it in advance and compare it with that of the file on disk. The stage computes it
again from its actual input files and stops if the two differ. The contents of the inputs are compared separately (see
`featurepaths.store.origin.Origin`).
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, NamedTuple

from featurepaths.store.atomic import atomic

PACKAGE = "featurepaths"
SOURCE = Path(__file__).parents[1]
LIBRARIES = ("PIL", "matplotlib", "numpy", "pandas", "scipy", "sklearn", "torch", "torchattacks", "torchvision")
DISTRIBUTIONS = {name: {"PIL": "pillow", "sklearn": "scikit-learn"}.get(name, name) for name in LIBRARIES}
"""Libraries whose version decides numbers, tables or figures, by the name they are imported under."""

TEXTS = {".jinja", ".mplstyle", ".toml"}
"""Suffixes of the files that modules read from their own folder: templates, captions and the figures' style."""

MEMORY = "FEATUREPATHS_CODE"
"""The environment variable that names the file in which modules are remembered, so that jobs need not parse them."""


class Module(NamedTuple):
    """Digests of a module's file and of its syntax tree, and the names of its package and all modules it may import."""

    source: str
    tree: str
    imported: list[str]


def digest_of(stage: str, settings: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """Return the cumulative digest of one job of `stage`.

    Parameters
    ----------
    stage
        Name of a module of `featurepaths.stages`.
    settings
        The stage's slice of the configuration, JSON values only.
    inputs
        The digests of the stage's inputs, in the order of its arguments.
    """
    return _hash({"stage": stage, "settings": settings, "code": code_digest(stage), "inputs": list(inputs)})


def artefact_digest(job: str, name: str) -> str:
    """Return the digest of one artefact of a job, which may make several: that of the job and the artefact's name."""
    return _hash({"job": job, "name": name})


@cache
def code_digest(stage: str) -> str:
    """Return the digest of the code that `stage` runs.

    It covers the syntax trees, without docstrings, of the stage's module and of every module of this package that it
    imports, however deep, the texts (`TEXTS`) in those packages, and the versions of the libraries among
    `DISTRIBUTIONS` that those modules import. Comments, docstrings and blank lines do not count.
    """
    modules = _modules_of(stage)
    trees = {name: module.tree for name, module in modules.items()}
    texts = {name: text for package in modules for name, text in _texts(package).items()}
    libraries = {name.partition(".")[0] for module in modules.values() for name in module.imported}
    versions = {name: library_version(DISTRIBUTIONS[name]) for name in libraries & DISTRIBUTIONS.keys()}
    return _hash({"modules": trees | texts, "libraries": versions})


def remember_code(stages: Iterable[str]) -> None:
    """Write the modules behind the code digests of `stages` to the file named by the environment variable `MEMORY`."""
    memory = {name: module for stage in stages for name, module in _modules_of(stage).items()}
    if memory != _remembered():
        with atomic(Path(os.environ[MEMORY])) as temporary:
            temporary.write_text(json.dumps(memory), encoding="utf-8")


@cache
def _modules_of(stage: str) -> dict[str, Module]:
    """Return the module of a stage and every module of this package that it imports and that counts, by name."""
    modules: dict[str, Module] = {}
    waiting = [f"{PACKAGE}.stages.{stage}"]
    while waiting:
        if (name := waiting.pop()) not in modules:
            modules[name] = _read(name)
            waiting += [other for other in modules[name].imported if other in _files() and _decides_numbers(other)]
    return modules


def _decides_numbers(module: str) -> bool:
    """Return whether a module's code counts: the declarations of configuration and stages only pass on settings."""
    return not module.startswith(f"{PACKAGE}.experiment") or module == f"{PACKAGE}.experiment.config.types"


@cache
def library_version(distribution: str) -> str:
    """Return the installed version of a library, or "absent"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


@cache
def _read(module: str) -> Module:
    """Return a module: from the cache if its file and this one are unchanged, else parsed."""
    content = _files()[module].read_bytes()
    source = hashlib.sha256(Path(__file__).read_bytes() + content).hexdigest()
    remembered = _remembered().get(module)
    return remembered if remembered and remembered.source == source else Module(source, *_parse(module, content))


@cache
def _remembered() -> dict[str, Module]:
    """Return the modules in the file that `MEMORY` names; {} if there is none, or it is damaged."""
    with suppress(KeyError, OSError, ValueError, AttributeError, TypeError):
        content = json.loads(Path(os.environ[MEMORY]).read_text(encoding="utf-8"))
        return {name: Module(*module) for name, module in content.items()}
    return {}


def _parse(module: str, content: bytes) -> tuple[str, list[str]]:
    """Return a digest of a module's syntax tree, and the names of its package and of all modules it may import."""
    path = _files()[module]
    tree = ast.parse(content, filename=str(path))
    parent = module.rpartition(".")[0]
    package = module if path.name == "__init__.py" else parent
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []  # which never runs
    # importing a.b runs a/__init__.py first
    imported = {parent, *(name for node in ast.walk(tree) for name in _imports(node, package))}
    text = json.dumps(tree, default=_plain, check_circular=False)
    return hashlib.sha256(text.encode()).hexdigest(), sorted(imported)


@cache
def _texts(module: str) -> dict[str, str]:
    """Return the files of `TEXTS` in the folder of a package, by path; {} for a module that is no package."""
    path = _files()[module]
    texts = path.parent.iterdir() if path.name == "__init__.py" else ()
    return {f"{module}/{text.name}": text.read_text(encoding="utf-8") for text in texts if text.suffix in TEXTS}


def _imports(node: ast.AST, package: str) -> list[str]:
    """Return the names that a statement of a module of `package` may import modules of."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = resolve_name("." * node.level + (node.module or ""), package)
        return [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return []


@cache
def _files() -> dict[str, Path]:
    """Return the files of this package's modules, by the modules' names."""
    files = {file.relative_to(SOURCE).with_suffix("").parts: file for file in SOURCE.rglob("*.py")}
    return {".".join((PACKAGE, *parts)).removesuffix(".__init__"): file for parts, file in files.items()}


def _plain(node: Any) -> Any:
    """Return a node of a syntax tree as JSON, without empty fields, so that Python versions agree on it.

    Strings that are statements, such as docstrings, are left out.
    """
    if not isinstance(node, ast.AST):
        return repr(node)  # bytes, complex numbers, and an ellipsis
    fields = {name: getattr(node, name, None) for name in node._fields}
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = [item for item in value if not _is_text(item)]
    return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _hash(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
