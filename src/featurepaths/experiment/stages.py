"""Stages: the options that name the outputs of a call, and the rule that makes each artefact."""

from featurepaths.experiment.artefact import Artefact

OUTPUTS = {
    "detection": ("metrics", "records"),
    "detector_evaluation": ("metrics", "records"),
    "recognition": ("metrics", "records"),
}
"""The options of the outputs, in their order, of stages whose one output is not called like the stage."""
GATHERS = {
    "adaptive": "gather_adaptive",
    "attack": "gather_attack",
    "attacked_features": "gather_attacked_features",
    "features": "gather_features",
    "streamed_paths": "gather_paths",
}
"""The rules that put shards together, by the rule that makes the shards."""


def rules_of(artefact: Artefact) -> set[str]:
    """Return the names of the rules that may make an artefact."""
    rule = rule_of(artefact)
    return {rule, GATHERS.get(rule, rule)}


def rule_of(artefact: Artefact) -> str:
    """Return the name of the rule that makes an artefact, or its shards."""
    name = artefact.name.rpartition("/")[2] if artefact.whole is None else artefact.whole.name.rpartition("/")[2]
    match artefact.stage:
        case "features":
            return "attacked_features" if "." in name else "features"
        case "centroids" | "collapse":
            return "clean_paths"
        case "paths":
            return "attacked_paths" if "." in name else "clean_paths"
        case "threshold" | "selection":
            return "calibration" if name.endswith("held-out") else "evaluation"
        case "detection" | "recognition":
            return "evaluation"
    return artefact.stage


def steps_of(artefacts: list[Artefact]) -> list[dict[str, object]]:
    """Return the calls of stages that make some artefacts of one job, in order, for `featurepaths.stages.batch`.

    Each is a mapping with ``stage`` and ``arguments``, the words of its command line. Artefacts of one call, such as
    metrics and records, stand next to each other.
    """
    calls: dict[str, list[Artefact]] = {}
    for artefact in artefacts:
        calls.setdefault(artefact.job_digest, []).append(artefact)
    return [{"stage": outputs[0].stage, "arguments": _arguments(outputs)} for outputs in calls.values()]


def _arguments(outputs: list[Artefact]) -> list[str]:
    """Return the words of the command line of the call that makes `outputs`."""
    first = outputs[0]
    words = ["--settings", first.params["settings"], "--digest", first.job_digest]
    for name, artefacts in first.inputs.items():
        if artefacts:
            words += [f"--{name}", *(str(artefact.path) for artefact in artefacts)]
    for name, artefact in zip(OUTPUTS.get(first.stage, (first.stage,)), outputs, strict=True):
        words += [f"--{name}", str(artefact.path)]
    return words
