"""Reading a configuration: messages about invalid keys, and the new names of renamed keys."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ValidationError,
)

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.experiment import Experiment

S = TypeVar("S", bound=BaseModel)


def read_experiment(config: Mapping[str, Any], source: str = "the configuration") -> Experiment:
    """Check a merged configuration and return it typed; errors are those of `read_section`."""
    return read_section(Experiment, config, source)


def read_section(section: type[S], config: Mapping[str, Any], source: str) -> S:
    """Check the keys of a section of the configuration and return it typed.

    Raises
    ------
    FeaturePathsError
        With one line for each problem: the key, the problem, and the permitted values.
    """
    try:
        return section.model_validate(config)
    except ValidationError as error:
        problems = error.errors()
        # a new name that is reported as missing is not reported again
        moved = {(*problem["loc"][:-1], new) for problem in problems if (new := _new_name(problem))}
        lines = [f"  {_describe(problem, config)}" for problem in problems if problem["loc"] not in moved]
        raise FeaturePathsError("\n".join([f"{source} is not valid:", *dict.fromkeys(lines)])) from None


USE = "put it into a file for --configfile"
RENAMED = {
    "keep": ("stopping_rule", "storage"),
    "images": ("max_images",),
    "targets": ("n_targets",),
    "multiples": ("eps_multiples",),
    "queries": ("n_queries",),
    "only_survivors": ("skip_defeated",),
    "stands_for": ("reference_dataset",),
    "resident_mb": ("in_memory_mb",),
    "eps_units": ("eps_space",),
    "pfc3": ("pfc3_threshold",),
    "tie": ("tie_break",),
}
"""The new names of keys by their former name; the section decides which one applies."""
RENAMED_VALUES = {
    ("storage", "keep"): "store",
    ("method", "files"): "precomputed",
    ("eps_space", "normalised"): "normalized",
}
"""The new names of values by their key and former name."""


def _describe(problem: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    # the location also contains a union's alternatives: keep only keys and indices of the configuration
    location, section = [], config
    # loc[1] of `data` names the union's alternative, which may equal a key: drop it
    parts = problem["loc"][:1] + problem["loc"][2:] if problem["loc"][:1] == ("data",) else problem["loc"]
    for part in parts:
        if (isinstance(section, Mapping) and part in section) or (isinstance(section, list) and isinstance(part, int)):
            section = section[part]
            location.append(str(part))
        elif problem["type"] == "missing" and part == parts[-1]:
            location.append(str(part))
    key = ".".join(location)
    value = problem["input"]
    if problem["type"] == "extra_forbidden":
        if new := _new_name(problem):
            return f"{key}: this key is now called '{new}'"
        keys = _keys_beside(problem["loc"])
        close = difflib.get_close_matches(str(problem["loc"][-1]), keys, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys are {', '.join(keys)}"
        return f"{key}: unknown key; {hint}"
    message = re.sub(r" after validation, not \d+", "", problem["msg"].removeprefix("Value error, "))
    message = message[:1].lower() + message[1:]
    if problem["type"] == "missing":
        return f"{key}: missing"
    if new := isinstance(value, str) and RENAMED_VALUES.get((key.rpartition(".")[2], value)):
        return f"{key}: '{value}' is now called '{new}'"
    if (
        isinstance(value, str)
        and problem["type"].endswith("_type")
        and re.match(r"\s*([\[{]|-?\d|true|false)", value, re.I)
    ):
        return f"{key}: {message}, not the text '{value}'; --config passes the values in lists and maps as text: {USE}"
    if problem["type"] == "value_error" and not key:
        return message
    return f"{key}: {message}" + ("" if problem["type"] == "value_error" else f", not {value!r}")


def _new_name(problem: Mapping[str, Any]) -> str | None:
    """Return the new name of an unknown key that was renamed."""
    if problem["type"] != "extra_forbidden":
        return None
    keys = _keys_beside(problem["loc"])
    return next((new for new in RENAMED.get(problem["loc"][-1], ()) if new in keys), None)


def _keys_beside(location: tuple) -> list[str]:
    """Return the known keys of the section that contains an unknown key."""
    schema = full = Experiment.model_json_schema()
    for part in location[:-1]:
        schema = _resolve(schema, full)
        branches = [schema, *(_resolve(branch, full) for branch in schema.get("anyOf", []) + schema.get("oneOf", []))]
        for branch in branches:
            if part in branch.get("properties", {}):
                schema = branch["properties"][part]
            elif "patternProperties" in branch:
                (schema,) = branch["patternProperties"].values()
            elif part in (branch.get("title"), branch.get("properties", {}).get("source", {}).get("const")):
                schema = branch
    schema = _resolve(schema, full)
    schemas = [schema, *(_resolve(branch, full) for branch in schema.get("anyOf", []))]
    return sorted({key for branch in schemas for key in branch.get("properties", {})})


def _resolve(schema: Mapping[str, Any], full: Mapping[str, Any]) -> Mapping[str, Any]:
    return full["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
