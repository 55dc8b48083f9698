"""What the rules share: the checked configuration, the plan of all jobs, names of files, and no rule."""

import json
import os
import sys
import time
from functools import cache
from itertools import product
from pathlib import Path
from shlex import quote
from shutil import which

from snakemake.exceptions import WorkflowError

# The plan and the jobs use this checkout's code, whichever one is installed: their digests have to agree.
SOURCE = f"{workflow.basedir}/src"
sys.path.insert(0, SOURCE)
# What is in the user's own PYTHONPATH comes after it. And glibc is to keep what it has freed: giving tensors back to the
# system and asking for them again takes an attack an eighth of its time.
KEPT = "MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483648"
from featurepaths.runtime.run_lock import join
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.feasible import check_attacks, check_layers
from featurepaths.experiment.resources import Estimator
from featurepaths.experiment.external import READ_TO_KNOW, fingerprint_inputs
from featurepaths.experiment.plan import Plan
from featurepaths.experiment.stages import rules_of, steps_of
from featurepaths.store.atomic import sweep


def shards(count):
    """Return the names of shards, none where work is not split."""
    return [f"{number}-of-{count}" for number in range(1, count + 1)] if count > 1 else []


try:
    EXPERIMENT = read_experiment(config, " + ".join(map(str, workflow.configfiles)) or "The configuration")
    # the jobs of a cluster need not look at all files again
    EXTERNAL = fingerprint_inputs(EXPERIMENT, again=workflow.is_main_process)
    if EXPERIMENT.data.source not in READ_TO_KNOW:
        check_attacks(EXPERIMENT, EXTERNAL.size)
    PLAN = Plan(EXPERIMENT, EXTERNAL)
    check_layers(PLAN)
except FeaturePathsError as error:
    raise WorkflowError(error) from None

ESTIMATOR = Estimator(EXPERIMENT, EXTERNAL.size)
workflow.register_pathvars(results=f"results/{EXPERIMENT.name}", run="<results>/{run}")

# What is out of date: see `inputs`. The marks are files of the past, so that no clock matters, until something is.
OUT_OF_DATE = f".snakemake/featurepaths/{EXPERIMENT.name}.out-of-date"
CHECKED = f".snakemake/featurepaths/{EXPERIMENT.name}.checked"
for mark, age in ((OUT_OF_DATE, 1), (CHECKED, 2)):
    if workflow.is_main_process or not Path(mark).exists():  # a job of a cluster is one that runs already
        Path(mark).parent.mkdir(parents=True, exist_ok=True)
        Path(mark).unlink(missing_ok=True)
        Path(mark).touch()
        os.utime(mark, (age, age))

# Every stage says that it works, and so does this Snakemake: `make run` waits for those that are left of a killed run.
AT_WORK = f".snakemake/featurepaths/{EXPERIMENT.name}.at-work"
if workflow.is_main_process:
    SAYS_SO = join(AT_WORK)
    sweep(f"results/{EXPERIMENT.name}")
EXPORTED = f"{KEPT} FEATUREPATHS_AT_WORK={AT_WORK} PYTHONPATH={quote(SOURCE)}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
shell.prefix(f"set -euo pipefail; export {EXPORTED}; ")

TABLES = ["architecture", "accuracy", "attacks", "combinations", "detection", "recognition", "summary", "collapse"]
RUN_FIGURES = ["paths", "histogram", "layers", "roc"]
SUMMARY_FIGURES = [*(["training"] if PLAN.trained else []), *(f"collapse.{pooling}" for pooling in PLAN.poolings)]

# Tables and figures of rival detectors, and of attackers who know the defence: as much as was asked for.
COMPARED = {"detectors": "Detectors", "calibration_matrix": "Calibrated on one attack, tested on another"}
COMPARISON_FIGURES = {"detectors": [], "matrix": [], "verdict": [], "curves": []}
for run, pooling in product(PLAN.runs, PLAN.poolings):
    COMPARISON_FIGURES["detectors"].append(f"detectors.{run}.{pooling}")
    COMPARISON_FIGURES["matrix"].append(f"matrix.{run}.{pooling}")
if EXPERIMENT.adaptive:
    COMPARED |= {
        "comparison": "The fair comparison",
        "adaptive": "Every attack on the defences",
        "evasion": "Detection alone",
        "adaptive_summary": "Over seeds",
    }
    COMPARISON_FIGURES["verdict"] += [f"verdict.{pooling}" for pooling in EXPERIMENT.adaptive_poolings]
    if EXPERIMENT.adaptive.controls:
        COMPARED |= {"controls": "Controls for masked gradients", "checks": "What the controls showed"}
        COMPARISON_FIGURES["curves"] += [f"curves.{pooling}" for pooling in EXPERIMENT.adaptive_poolings]

THREADS = EXPERIMENT.torch_threads
GPU_HERE = which("nvidia-smi") is not None

# How attacks and extractions are split, and where a data set is read from, make nothing out of date.
ATTACK_SHARDS = shards(EXPERIMENT.shards.attacks)
FEATURE_SHARDS = shards(EXPERIMENT.shards.features)

PLACES = ("train", "test", "title") if EXPERIMENT.data.source == "arrays" else ("root", "title")
DATA_FROM = " ".join(
    f"--{place}={quote(value)}" for place in PLACES if (value := getattr(EXPERIMENT.data, place, None)) is not None
)
if getattr(EXPERIMENT.data, "download", False):
    DATA_FROM += " --download"


def adversarial_from(w):
    """Return where the adversarial images of an attack are read from, if they were made elsewhere."""
    attack = EXPERIMENT.attacks[w.attack]
    file = attack.files.get(w.split) if attack.method == "precomputed" else None
    return f"--file={quote(file)}" if file else ""


def gpu(w):
    """Return how many GPUs a network's job asks for: on a cluster one, unless `device` is cpu.

    Where networks run is a resource and no param: another machine's device makes nothing out of date.
    """
    there = workflow.non_local_exec or GPU_HERE
    return int({"cpu": False, "cuda": True, "auto": there}[EXPERIMENT.device])


def gpu_to_stream(w):
    """Return how many GPUs a job asks for that runs a network only where features are streamed."""
    return gpu(w) if PLAN.streams else 0


def memory(needs):
    """Return a resource function: what a job of `needs` is given, more in every attempt."""
    return lambda w, attempt: attempt * needs(w).mb


def minutes(needs):
    """Return a resource function: how long a job of `needs` may take, longer in every attempt."""
    return lambda w, attempt: attempt * needs(w).minutes


def all_poolings(needs):
    """Return the needs of a job that does for every pooling, one after another, what has `needs` for one."""
    return lambda w: needs(w)._replace(minutes=len(PLAN.poolings) * needs(w).minutes)


def reading_needs(w):
    return ESTIMATOR.reading()


def weights_from(w):
    """Return where the weights of a network that is given lie, as an option."""
    model = EXPERIMENT.pretrained(w.run.split("-")[0])
    return f"--weights={quote(model.checkpoint)}" if model.checkpoint else ""


def layers_needed(w):
    """Return how many layers the configuration needs, as an option: no result depends on it."""
    return " ".join(["--needs", *(f"{key}={number}" for key, number in EXPERIMENT.named_layers.items())])


def network_needs(w):
    return ESTIMATOR.network(w.run)


def training_needs(w):
    return ESTIMATOR.training(w.run, bool(gpu(w)))


def attack_needs(w):
    return ESTIMATOR.attack(w.run, w.attack, bool(gpu(w)))


def adaptive_needs(w):
    return ESTIMATOR.adaptive(w.run, bool(gpu(w)))


def controls_needs(w):
    return ESTIMATOR.controls(w.run, bool(gpu(w)))


def detectors_needs(w):
    return ESTIMATOR.detectors(w.run, bool(gpu_to_stream(w)))


def features_needs(w):
    return ESTIMATOR.features(w.run, bool(gpu(w)))


def streamed_classes_needs(w):
    return ESTIMATOR.streamed_classes(w.run, bool(gpu(w)))


def streamed_paths_needs(w):
    return ESTIMATOR.streamed_paths(w.run, bool(gpu(w)))


def over_features_needs(w):
    return ESTIMATOR.over_features(w.run)


def over_paths_needs(w):
    return ESTIMATOR.over_paths()


wildcard_constraints:
    run=r"[A-Za-z0-9_]+-[A-Za-z0-9_]+-s\d+",
    pooling="flatten|mean",
    split="train|calibration|test",
    attack="[A-Za-z0-9_]+",
    stopping_rule="first-success|last-success|max-loss|returned",
    images="[A-Za-z0-9_.-]+",
    shard=r"\d+-of-\d+",
    calibration=r"held-out|paper\.[A-Za-z0-9_]+\.[a-z-]+",


def dump(path):
    """Mark a feature dump as temporary where the configuration says so."""
    return temp(path) if EXPERIMENT.features.storage == "temporary" else path


CLEAN_DUMPS = [dump(f"<run>/features/{pooling}/{split}.h5") for pooling in PLAN.poolings for split in PLAN.splits]
ATTACKED_DUMPS = [dump(f"<run>/features/{pooling}/{{split}}.{{attack}}.{{stopping_rule}}.h5") for pooling in PLAN.poolings]


def shard_of(path, shards):
    """Return the name of a network job's output: where its work is split, that of a temporary shard of `path`."""
    return temp(f"{path.removesuffix('.h5')}/{{shard}}.h5") if shards else path


def dot_shard(shards):
    """Return what the name of a job's log ends with, for its shard."""
    return ".{shard}" if shards else ""


def shard_option(shards):
    """Return a param function: what tells a stage which shard to make."""
    return lambda w: f"--shard {w.shard}" if shards else ""


def inputs(*made, shards=()):
    """Return the input files, by name, of the job that makes the artefacts `made`, or that gathers their `shards`.

    The digests in the artefacts decide what runs again. So all files are `ancient`: their time stamps do not count. But
    where one of `made` is on the disk with another digest, the mark of rule `check` is not, and that rule runs. (Were
    params to trigger it, or inputs that are not ancient, Snakemake would pass over jobs below others that run again.)
    When `check` runs, Snakemake looks for nothing else that is to be done, apart from what rule `all` or a job that runs
    needs: so a file that was asked for by name and is missing depends on the mark as well.
    """
    if shards:
        read = {"shards": [one.shard(item) for one in made for item in shards]}
    elif len({one.job_digest for one in made}) == 1:
        read = made[0].inputs
    else:  # several stages, which read each other's artefacts as well
        read = {"files": dict.fromkeys(source for one in made for source in one.sources if source not in made)}
    files = {name: [ancient(str(one.path)) for one in artefacts] for name, artefacts in read.items()}
    if any(forced(artefact) or not artefact.up_to_date for artefact in made):
        touch_out_of_date()
        return files | {"checked": CHECKED}
    return files | {"checked": CHECKED if any(map(missed, made)) else ancient(CHECKED)}


@cache
def asked():
    """Return the files and rules that were asked for on the command line, which is not known while this file is read."""
    return {*workflow.dag_settings.targets, *workflow.dag_settings.until}


def missed(artefact):
    """Return whether the call that makes an artefact was asked for on the command line, and its files are missing."""
    if not asked().isdisjoint(rules_of(artefact)):
        return not artefact.is_there
    return any(Path(name).parent == artefact.path.parent and not Path(name).exists() for name in asked())


@cache
def forced(artefact):
    """Return whether Snakemake was told to make an artefact, or something that it is made from, again."""
    settings = workflow.dag_settings
    names = {*settings.forcerun, *(settings.targets if settings.forcetargets else ())}
    outputs = {str(artefact.path), str(artefact.path.with_name("training.csv")) if artefact.stage == "train" else ""}
    return not names.isdisjoint(outputs | rules_of(artefact)) or any(map(forced, artefact.sources))


def refuse_leftovers():
    """Raise WorkflowError if anything on the disk was made from other contents than its inputs have at the end of a run.

    So it is where a file that was missing or damaged turned out different when it was made again. Whoever asked for
    some of the files only expects no more than those.
    """
    if asked() or workflow.dag_settings.batch or workflow.touch or not workflow.is_main_process:
        return
    left = [artefact for artefact in Plan(EXPERIMENT, EXTERNAL).everything() if not artefact.up_to_date]
    if left:
        raise WorkflowError(
            f"{len(left)} files are not what this configuration makes from what their inputs contain now, the first of "
            f"them {left[0].path}. So it is where a file that was missing or damaged turned out different when it was "
            "made again, as on another processor. Run snakemake again: it makes them again."
        )


def steps(artefacts):
    """Return the calls of stages that make the artefacts of a job, as JSON."""
    return json.dumps(steps_of(artefacts))


def part(w, shards, *made):
    """Return what a network job makes: the artefacts, or the shards of them that its wildcards name."""
    return [artefact.shard(w.shard) for artefact in made] if shards else made


@cache
def touch_out_of_date():
    """Make OUT_OF_DATE newer than CHECKED, with new content, because Snakemake compares that too."""
    if workflow.is_main_process:
        Path(OUT_OF_DATE).write_text(str(time.time_ns()))
