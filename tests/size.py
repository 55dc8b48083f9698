"""Measure the size of the package: `python -m tests.size` prints it, and tests/test_size.py holds its limits.

- Code lines are lines of src/featurepaths without blank lines, comments and docstrings; of a room, its folder's.
- A route is the number of files of the package in which a function runs while an image goes from its attack to its
  vote, imports not counted, in a run of the workflow on a small experiment. Files "handed arrays" are those with a
  function among these that takes or returns an array, a tensor, an HDF5 dataset, or a collection of such.
- A configuration key is spelt in a file of src or rules if a name or a string in its code (no comment, no docstring)
  is that key.
"""

import ast
import io
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from pathlib import Path

from tests.experiments import ROOT, small_experiment
from tests.processes import Workflow

PACKAGE = ROOT / "src/featurepaths"
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
KEYS = ("iterations", "n_targets", "stopping_rule", "max_images", "poolings", "eps_multiples", "tie_break")
ROUTES = {
    "stored (stages attack, features, paths, recognition)": ("attack", "features", "paths", "recognition"),
    "in memory (stage adaptive)": ("adaptive",),
    "in memory (predict of a fitted FeaturePathDefense)": ("predict",),
}
TRACER = """
import atexit, os, sys, threading
from pathlib import Path

PACKAGE, FOLDER = {package!r} + os.sep, Path({folder!r})
name = next((word.rpartition(".")[2] for word in sys.orig_argv if word.startswith("featurepaths.stages.")), None)
ran, handed = set(), set()


def has_arrays(value, depth=2):
    if type(value).__name__ in ("ndarray", "Tensor", "Dataset"):
        return True
    if depth and isinstance(value, dict):
        value = list(value.values())
    return bool(depth) and isinstance(value, (list, tuple)) and any(has_arrays(part, depth - 1) for part in value[:4])


def profile(frame, event, returned):
    code = frame.f_code
    if event in ("call", "return") and code.co_filename.startswith(PACKAGE) and code.co_name != "<module>":
        ran.add(code.co_filename)
        if code.co_filename not in handed:
            values = [returned] if event == "return" else list(frame.f_locals.values())
            if any(map(has_arrays, values)):
                handed.add(code.co_filename)


def start(route):
    def save():
        sys.setprofile(None)
        for kind, files in (("ran", ran), ("handed", handed)):
            (FOLDER / f"{{route}}.{{os.getpid()}}.{{kind}}").write_text("\\n".join(files))

    atexit.register(save)
    threading.setprofile(profile)
    sys.setprofile(profile)


if name:
    start(name)
"""
"""Placed as `sitecustomize.py`: it records in which files of the package functions run in a stage's process."""
PREDICT = """
import sitecustomize, torch
from featurepaths import FeaturePathDefense
from featurepaths.networks.resnet import ResNet

network = ResNet("resnet18", 4, width=2).eval()
loader = [(torch.rand(16, 3, 32, 32), torch.arange(16) % 4)]
defense = FeaturePathDefense(network, network.layer_names, "mean").fit(loader, detection_layers=[1])
defense.calibrate(loader)
sitecustomize.start("predict")
defense.predict(loader[0][0])
"""


def docstring_lines(tree):
    """The lines of strings that are separate statements."""
    strings = (
        statement
        for node in ast.walk(tree)
        if isinstance(body := getattr(node, "body", None), list)
        for statement in body
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
    return {line for string in strings for line in range(string.lineno, string.end_lineno + 1)}


def code_lines(path):
    """The number of lines of a module without blank lines, comments and docstrings."""
    text = path.read_text()
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in NO_CODE]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - docstring_lines(ast.parse(text)))


def code_lines_per_room():
    """The code lines of each entry of the package."""
    lines = Counter()
    for path in PACKAGE.rglob("*.py"):
        lines[path.relative_to(PACKAGE).parts[0]] += code_lines(path)
    return lines


def entries():
    """The files and folders of the package."""
    return sorted(path.name for path in PACKAGE.iterdir() if path.name != "__pycache__")


def rule_lines():
    """The lines of the Snakefile and the rules."""
    return sum(len(path.read_text().splitlines()) for path in RULES)


def long_files(limit=300):
    """The package's files of more lines than the limit, with their lines."""
    lines = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    return {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > limit}


def files_with_key(key):
    """The files of src and rules that spell a configuration key."""
    results = []
    for path in [*sorted(PACKAGE.rglob("*.py")), *RULES]:
        text = path.read_text()
        if path.suffix == ".py":
            docstrings = docstring_lines(ast.parse(text))
            words = {
                token.string.strip("'\"")
                for token in tokenize.generate_tokens(io.StringIO(text).readline)
                if token.type in (tokenize.NAME, tokenize.STRING) and token.start[0] not in docstrings
            }
        else:
            words = set(re.findall(r"\w+", re.sub(r"#.*", "", text)))
        if key in words:
            results.append(str(path.relative_to(ROOT)))
    return results


def files_of_routes(folder):
    """Run a small experiment, and return of each route the files that ran and those that were handed arrays."""
    traces = folder / "traces"
    traces.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(TRACER.format(package=str(PACKAGE), folder=str(traces)))
    environment = {"PYTHONPATH": f"{folder}{os.pathsep}{PACKAGE.parent}"}
    adaptive = {"attack": "apgd", "max_images": 8, "iterations": 2, "losses": ["ce"], "n_targets": 0, "controls": None}
    workflow = Workflow(folder / "run", small_experiment("traced", adaptive=adaptive))
    workflow("--until", "evaluation", "adaptive", environment=environment)
    subprocess.run([sys.executable, "-c", PREDICT], check=True, env=os.environ | environment)
    return {
        route: tuple(
            {
                line
                for stage in stages
                for trace in traces.glob(f"{stage}.*.{kind}")
                for line in trace.read_text().splitlines()
            }
            for kind in ("ran", "handed")
        )
        for route, stages in ROUTES.items()
    }


def main():
    """Print all sizes."""
    lines = code_lines_per_room()
    for name, count in lines.most_common():
        print(f"{count:7,}  {name}")
    print(f"{sum(lines.values()):7,}  code lines of src/featurepaths")
    print(f"{rule_lines():7,}  lines of Snakefile and rules")
    print(f"{len(entries()):7,}  entries of src/featurepaths")
    print(f"{len(long_files()):7,}  files of more than 300 lines {long_files() or ''}")
    for key in KEYS:
        print(f"{len(files_with_key(key)):7,}  files that spell the configuration key {key}")
    with tempfile.TemporaryDirectory() as folder:
        for route, (ran, handed) in files_of_routes(Path(folder)).items():
            print(f"{len(ran):7,}  files on the route {route}, {len(handed)} of them handed arrays")


if __name__ == "__main__":
    main()
