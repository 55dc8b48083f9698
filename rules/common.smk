"""Shared parts of the rules: the experiment, its plan, and how a rule calls its stage. No rule."""

import gc
import os
import sys
import tomllib
from functools import cache
from inspect import signature
from itertools import product
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

# The folder of the Snakefile, also where another workflow uses it as a module.
FOLDER = Path(str(workflow.current_basedir)).parent
if workflow.storage_settings.default_storage_provider:
    raise WorkflowError(
        "featurepaths reads its results while it plans, so it cannot keep them at a storage provider. Leave out "
        "--default-storage-provider, and run in a folder that all machines can access."
    )
if workflow.modifier.path_modifier.prefix or workflow.modifier.path_modifier.modifies_prefixes:
    raise WorkflowError(
        "featurepaths reads its results while it plans, and looks for them in results/. Leave out prefix and replace_prefix "
        "of the module. To have the results elsewhere, start snakemake with --directory."
    )


def code_folder():
    """Return the folder from which the plan and the jobs import featurepaths: the code that belongs to this Snakefile.

    Whichever code is installed, the digests of both have to agree. In a checkout it is `src`; in an installed package a
    link to the package alone, because jobs in an environment of their own must not see all that is installed here.
    """
    if (FOLDER / "src").is_dir():
        return f"{FOLDER}/src"
    link, package = Path(".snakemake/featurepaths/code/featurepaths").absolute(), FOLDER.parent
    if link.resolve() != package.resolve():
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            new = link.with_name(f"{os.uname().nodename}-{os.getpid()}")
            new.symlink_to(package)
            new.replace(link)
        except OSError as error:
            raise WorkflowError(f"Run this in a folder that can be written to: {error}") from None
    return str(link.parent)


SOURCE = code_folder()
sys.path.insert(0, SOURCE)
from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.artefact import arguments_of, steps_of
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.external import READ_TO_KNOW, fingerprint_inputs
from featurepaths.experiment.feasible import attack_library, check_attacks, check_layers, needs_attack_library
from featurepaths.experiment.plan import Plan
from featurepaths.experiment.stage import WILDCARDS
from featurepaths.experiment.stages import STAGES
from featurepaths.store.code_digest import MEMORY, remember_code
from featurepaths.workflow.start import only_reads, start

# What is read of the code is remembered: jobs need not parse it, nor the next plan.
os.environ[MEMORY] = ".snakemake/featurepaths/code.json"

# Jobs run in this environment, activated or not, unless Snakemake gives them one of their own.
OWN_ENVIRONMENT = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
PYTHON = "python" if OWN_ENVIRONMENT else quote(sys.executable)

# A call that runs no jobs leaves the mark of outdated artefacts and what is remembered of the code as they are.
READS_ONLY = workflow.output_settings.dryrun or only_reads(sys.argv)

try:
    if not READS_ONLY:
        remember_code(STAGES)
    EXPERIMENT = read_experiment(config, " + ".join(map(str, workflow.configfiles)) or "The configuration")
    RESULTS = f"results/{EXPERIMENT.name}"
    # Every stage reports that it runs, and so does this Snakemake: the next one waits for what a killed one left.
    AT_WORK = f".snakemake/featurepaths/{EXPERIMENT.name}.at-work"
    if workflow.is_main_process and not workflow.output_settings.dryrun:
        start(AT_WORK, RESULTS, waits=not READS_ONLY)
    if not OWN_ENVIRONMENT and needs_attack_library(EXPERIMENT):
        attack_library()
    # the jobs of a cluster need not look at all files again
    EXTERNAL = fingerprint_inputs(EXPERIMENT, again=workflow.is_main_process)
    if EXPERIMENT.data.source not in READ_TO_KNOW:
        check_attacks(EXPERIMENT, EXTERNAL.size)
    PLAN = Plan(EXPERIMENT, EXTERNAL)
    check_layers(PLAN)
except FeaturePathsError as error:
    raise WorkflowError(error) from None

# The garbage collector need not look through the modules and the plan, which stay, every so often and when Python ends.
gc.freeze()
gc.set_threshold(100_000, 50, 100)

workflow.register_pathvars(results=RESULTS, run="<results>/{run}")

# The user's own PYTHONPATH comes after the checkout. And glibc is to keep what it has freed: giving tensors back to the
# system and asking for them again takes an attack an eighth of its time.
MALLOC = "MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483648"
EXPORTED = f"{MALLOC} FEATUREPATHS_AT_WORK={AT_WORK} {MEMORY}={os.environ[MEMORY]}"
# A job shares the lock from its first moment: Python starts so slowly that a next run could look in between.
SHARED = f"if [ -e {AT_WORK} ]; then exec 9<{AT_WORK}; flock --shared 9 2>/dev/null || true; fi"
OWN_PATH = f"PYTHONPATH={quote(SOURCE)}${{{{PYTHONPATH:+:$PYTHONPATH}}}}"
shell.prefix(f"set -euo pipefail; {SHARED}; export {EXPORTED} {OWN_PATH}; PYTHON={PYTHON}; ")


wildcard_constraints:
    **WILDCARDS,


@cache
def parameters_of(method):
    """Return the names of a method's parameters; they are looked up for every job."""
    return tuple(signature(method).parameters)


def artefacts(name, w):
    """Return the artefacts of a job: those of the plan's method `name`, for the wildcards that it takes."""
    method = getattr(PLAN, name)
    planned = method(**{wildcard: getattr(w, wildcard) for wildcard in parameters_of(method)})
    planned = planned if isinstance(planned, (list, tuple)) else [planned]
    return [artefact.shard(w.shard) for artefact in planned] if hasattr(w, "shard") else planned


def files(name):
    """Return the input function of the rule that makes the artefacts of the plan's method `name`."""
    return lambda w: inputs(artefacts(name, w))


def job(stage, *, of=None, keys=(), options=()):
    """Return the param function for the stage to call and its arguments: settings, digest, inputs and outputs.

    Parameters
    ----------
    stage
        The stage, or a list of them for a batch.
    of
        The plan's method for what the job makes; by default it has the stage's name.
    keys
        The configuration keys that the stage depends on. They are those of its declaration, and repeated in the rule
        for its readers.
    options
        Further arguments of the stage that change no result.
    """
    stages = [stage] if isinstance(stage, str) else stage
    if set(keys) != {key for each in stages for key in STAGES[each].keys}:
        raise WorkflowError(f"keys={keys} in the rules are not the keys that the stages {stages} declare.")
    if stage is stages:
        return lambda w: ["batch", EXPERIMENT.device, *steps_of(artefacts(of, w))]

    def words(w):
        shard = ["--shard", w.shard] if hasattr(w, "shard") else []
        return [stage, *arguments_of(artefacts(of or stage, w)), *shard, *options]

    return words


# How attacks and extractions are split makes nothing out of date.
def shards(count):
    """Return the names of shards, none where work is not split."""
    return [f"{number}-of-{count}" for number in range(1, count + 1)] if count > 1 else []


ATTACK_SHARDS = shards(EXPERIMENT.shards.attacks)
FEATURE_SHARDS = shards(EXPERIMENT.shards.features)


def shard_of(path, shards):
    """Return the name of a network job's output: where its work is split, that of a temporary shard of `path`."""
    return temp(f"{path.removesuffix('.h5')}/{{shard}}.h5") if shards else path


def dot_shard(shards):
    """Return what the name of a job's log ends with, for its shard."""
    return ".{shard}" if shards else ""


def all_shards(name, shards):
    """Return the input function of the rule that gathers the shards of the artefacts of the plan's method `name`."""

    def named(w):
        *parts, mark = inputs(artefacts(name, w), shards)
        return {"shards": parts, "checked": mark}

    return named


def gather_digest(name):
    """Return the param function for the digest of the job that makes the artefacts of the plan's method `name`."""
    return lambda w: artefacts(name, w)[0].job_digest


# Feature dumps are temporary where the configuration says so.
dump = temp if EXPERIMENT.features.storage == "temporary" else str
CLEAN_DUMPS = [dump(f"<run>/features/{pooling}/{split}.h5") for pooling in PLAN.poolings for split in PLAN.splits]
ATTACKED_DUMPS = [dump(f"<run>/features/{pooling}/{{split}}.{{attacked}}.h5") for pooling in PLAN.poolings]


def of_poolings(*stages):
    """Return the paths of these stages' outputs for all poolings; the other names stay wildcards, or are `held-out`."""
    outputs = [path for stage in stages for path in STAGES[stage].outputs.values()]
    return [f"<run>/{path.replace('{pooling}', pooling)}" for pooling in PLAN.poolings for path in outputs]


TITLES = tomllib.loads(Path(SOURCE, "featurepaths/report/tables/tables.toml").read_text(encoding="utf-8"))


def shown(path, caption, category, **labels):
    """Return an output that Snakemake's report shows."""
    return report(path, caption=f"../captions/{caption}.rst", category=category, labels=labels)


def shown_page(name, category, **labels):
    """Return a page among the tables, which Snakemake's report shows."""
    return shown(f"<results>/tables/{name}.html", name, category, **labels)


def table_files(names, category):
    """Return the files of tables; Snakemake's report shows their pages."""
    pages = [shown_page(name, category, result=TITLES[name]["title"]) for name in names]
    return [*pages, *expand("<results>/tables/{name}.{kind}", name=names, kind=["csv", "md"])]


def figure_files(name, category, title, **labels):
    """Return the files of a figure `<kind>` or `<kind>.<of>`; Snakemake's report shows the first."""
    caption = f"{name.partition('.')[0]}_figure"
    image = shown(f"<results>/figures/{name}.png", caption, category, result=f"Figure: {title}", **labels)
    return [image, f"<results>/figures/{name}.svg"]
