"""Detection of outdated artefacts: the mark that starts every job whose artefacts are not the expected ones. No rule.

The digests in the artefacts decide what runs again. So all inputs are `ancient`: their time stamps do not count. But where
an artefact on the disk has another digest, the mark CHECKED is not ancient, and rule `check`, which makes it, is forced.
(Were params to trigger the job itself, or inputs that are not ancient, Snakemake would pass over jobs below others that run
again.)
"""

import os
from functools import cache
from tempfile import NamedTemporaryFile

# The mark is a file of the past, so that no clock matters, until `check` makes it again. A job of a cluster finds it.
CHECKED = f".snakemake/featurepaths/{EXPERIMENT.name}.checked"
EXISTED = Path(CHECKED).exists()
if READS_ONLY and not EXISTED:
    STAND_IN = NamedTemporaryFile()
    CHECKED = STAND_IN.name
if not EXISTED or workflow.is_main_process and not READS_ONLY:
    Path(CHECKED).touch()
    os.utime(CHECKED, (1, 1))

RULES = {
    "attack": {"gather_attack"},
    "adaptive": {"gather_adaptive"},
    "features": {"attacked_features", "gather_features", "gather_attacked_features"},
    "centroids": {"clean_paths"},
    "collapse": {"clean_paths"},
    "paths": {"clean_paths", "attacked_paths"},
    "streamed_paths": {"gather_paths"},
    "threshold": {"calibration", "evaluation"},
    "selection": {"calibration", "evaluation"},
    "detection": {"evaluation"},
    "recognition": {"evaluation"},
}
"""The rules that make the artefacts of a stage, where they do not have its name."""


def inputs(artefacts, shards=()):
    """Return the input files of the job that makes `artefacts`, or that gathers their `shards`.

    When `check` runs, Snakemake looks for nothing else that is to be done, apart from what rule `all` or a job that runs
    needs: so a file that was asked for by name and is missing depends on the mark as well.
    """
    if shards:
        read = [artefact.shard(item) for artefact in artefacts for item in shards]
    else:
        sources = dict.fromkeys(source for artefact in artefacts for source in artefact.sources)
        read = [source for source in sources if source not in artefacts]
    paths = [ancient(str(source.path)) for source in read]
    if any(forced(artefact) or not artefact.up_to_date for artefact in artefacts):
        if workflow.is_main_process:
            workflow.dag.forcefiles.add(CHECKED)
        return [*paths, CHECKED]
    return [*paths, CHECKED if any(map(missed, artefacts)) else ancient(CHECKED)]


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


def rules_of(artefact):
    """Return the names of the rules that may make an artefact."""
    return {artefact.stage} | RULES.get(artefact.stage, set())


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
