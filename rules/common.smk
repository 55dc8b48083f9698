"""What the rules share: the checked configuration, the plan of all jobs, names of files, and no rule."""

import sys
from shlex import quote
from shutil import which

from snakemake.exceptions import WorkflowError

# The plan and the jobs use this checkout's code, whichever one is installed: their digests have to agree.
SOURCE = f"{workflow.basedir}/src"
sys.path.insert(0, SOURCE)
shell.prefix(f"set -euo pipefail; export PYTHONPATH={quote(SOURCE)}; ")

from featurepaths.config import read_experiment
from featurepaths.errors import FeaturePathsError
from featurepaths.plan import Plan

try:
    EXPERIMENT = read_experiment(config, " + ".join(map(str, workflow.configfiles)) or "The configuration")
    PLAN = Plan(EXPERIMENT)
    PLAN.data()  # a folder of images has to be there
except FeaturePathsError as error:
    raise WorkflowError(error) from None

workflow.register_pathvars(results=f"results/{EXPERIMENT.name}", run="<results>/{run}")

TABLES = ["architecture", "accuracy", "attacks", "combinations", "detection", "recognition", "collapse"]
RUN_FIGURES = ["paths", "histogram", "layers", "roc"]
SUMMARY_FIGURES = ["training", *(f"collapse.{pooling}" for pooling in PLAN.poolings)]

# Where networks run is a resource and no param: another machine's device makes nothing out of date.
GPU = int({"cpu": False, "cuda": True, "auto": which("nvidia-smi") is not None}[EXPERIMENT.device])
THREADS = EXPERIMENT.torch_threads

# Nor is the place that a data set is read from.
DATA_FROM = ""
if EXPERIMENT.data.source == "folder":
    DATA_FROM = f"--root {quote(EXPERIMENT.data.root)} --title {quote(EXPERIMENT.data.title)}"
elif EXPERIMENT.data.source != "digits":
    DATA_FROM = f"--root {quote(EXPERIMENT.data.root)}" + " --download" * EXPERIMENT.data.download


wildcard_constraints:
    run=r"[A-Za-z0-9_]+-[A-Za-z0-9_]+-s\d+",
    pooling="flatten|mean",
    split="train|calibration|test",
    attack="[A-Za-z0-9_]+",
    keep="first-success|last-success|max-loss",
    images="[A-Za-z0-9_.-]+",
    calibration=r"held-out|paper\.[A-Za-z0-9_]+\.[a-z-]+",


def dump(path):
    """Mark a feature dump as temporary where the configuration does not keep them."""
    return path if EXPERIMENT.features.keep else temp(path)


def calibration_paths(which):
    """Return an input function: feature paths of the clean (0) or attacked (1) images of a calibration."""
    return lambda w: f"<results>/{w.run}/paths/{w.pooling}/{PLAN.calibration_images(w.calibration)[which]}.h5"


def collapse_if_needed(w):
    """Return the collapse metrics where they decide the detector's layers, else nothing."""
    return f"<results>/{w.run}/collapse/{w.pooling}.json" if EXPERIMENT.detection.layers == "auto" else []


def calibrated(kind, stem):
    """Return an input function: an artefact of every calibration that is tested on an attack."""
    return lambda w: [
        f"<results>/{w.run}/{kind}/{w.pooling}/{stem}{calibration}.json"
        for calibration in PLAN.calibrations(f"{w.attack}.{w.keep}")
    ]


def of_keeps(name):
    """Return an input function: an artefact of every stopping rule that an attack keeps, in the same run."""
    return lambda w: expand(f"<results>/{w.run}/{name}", pooling=w.pooling, attacked=PLAN.kept(w.attack))


def of_runs(name):
    """Return the files of every run."""
    return expand("<results>/{run}/{name}", run=PLAN.runs, name=name)


def of_poolings(kind):
    """Return the artefacts of every run and pooling."""
    return expand("<results>/{run}/{kind}/{pooling}.json", run=PLAN.runs, kind=kind, pooling=PLAN.poolings)


def of_attacks(kind):
    """Return the metrics of every run, pooling, attack and stopping rule."""
    return expand(
        "<results>/{run}/{kind}/{pooling}/feature-paths.{attacked}.json",
        run=PLAN.runs,
        kind=kind,
        pooling=PLAN.poolings,
        attacked=PLAN.attacked,
    )
