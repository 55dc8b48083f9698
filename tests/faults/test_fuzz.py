"""Configurations and artefacts that nobody would write: only the declared error ever leaves."""

import copy
import os

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurepaths.errors import FeaturePathsError
from featurepaths.experiment.config.messages import read_experiment
from featurepaths.experiment.external import ExternalInputs
from featurepaths.experiment.plan import Plan
from tests.experiments import ROOT
from tests.faults.artefacts import KINDS, read

CASES = int(os.environ.get("CASES", "2000"))
FUZZ = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)

CONFIGS = [
    yaml.safe_load(path.read_text()) for path in [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
]
KEYS = sorted({key for config in CONFIGS for key in config} | {"images", "norm", "eps", "layers", "method", "factory"})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 12),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["auto", "equal", "8/255", "1/0", "apgd", "files", "pgd", "linf", "l0", "held-out", "..", "$(x)", "0x1"]
    ),
    st.dates(),
    st.binary(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.one_of(st.sampled_from(KEYS), st.text(max_size=8), st.integers(), st.none()), inner, max_size=4
        )
    ),
    max_leaves=8,
)


def places(node, path=()):
    """The paths of everything in a document."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


@st.composite
def configurations(draw):
    """A configuration of the repository in which a few things are replaced, left out, renamed or added."""
    config = copy.deepcopy(draw(st.sampled_from(CONFIGS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from([path for path in places(config) if path]))
        parent = config
        for key in place[:-1]:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "replace":
                parent[place[-1]] = draw(VALUES)
            case "remove":
                del parent[place[-1]]
            case "add" if isinstance(parent, dict):
                parent[draw(st.one_of(st.sampled_from(KEYS), st.text(max_size=8)))] = draw(VALUES)
    return config


def refused(config):
    """Whether a configuration is refused; if it is not, everything can be planned."""
    try:
        experiment = read_experiment(config)
        plan = Plan(experiment, ExternalInputs(networks={name: {} for name in experiment.models}))
        paths = [plan.paths(run, pooling, "test").path for run in plan.runs for pooling in plan.poolings]
        digest = plan.configuration().digest
    except FeaturePathsError:
        return True
    assert digest
    assert all(path.parts[0] == "results" and ".." not in path.parts for path in paths)
    return False


def test_configuration_random_planned_or_refused(faults):
    outcomes = []

    @FUZZ
    @given(configurations() | VALUES)
    def fuzz(config):
        outcomes.append(refused(config))

    fuzz()
    assert len(outcomes) >= CASES
    assert CASES // 50 < sum(outcomes) < len(outcomes) - CASES // 50, "some are refused, and some are not"
    faults("configuration changed at random", len(outcomes), "planned, or refused with the declared error")


@st.composite
def damages(draw):
    """A change of bytes: flips, pieces that are left out, doubled, replaced, exchanged, and a new end."""
    return [
        (
            draw(st.sampled_from(["flip", "zero", "drop", "double", "insert", "cut"])),
            draw(st.floats(0, 1)),
            draw(st.integers(1, 64)),
            draw(st.binary(min_size=1, max_size=16)),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]


def damaged(content, changes):
    """Apply changes to bytes."""
    for how, share, length, new in changes:
        start = int(share * len(content))
        before, part, after = content[:start], content[start : start + length], content[start + length :]
        match how:
            case "flip":
                content = before + bytes(byte ^ new[0] for byte in part) + after
            case "zero":
                content = before + bytes(len(part)) + after
            case "drop":
                content = before + after
            case "double":
                content = before + part + part + after
            case "insert":
                content = before + new + part + after
            case "cut":
                content = before
    return content


@pytest.fixture(scope="module")
def originals(tiny):
    """A file of every kind, and what it says."""
    return [
        (tiny.results / name, (tiny.results / name).read_bytes(), read(tiny.results / name)) for name in KINDS.values()
    ]


def test_artefact_bytes_random_refused_or_unchanged(originals, tmp_path, faults):
    outcomes = []

    @FUZZ
    @given(st.sampled_from(range(len(originals))), damages())
    def fuzz(number, changes):
        original, content, expected = originals[number]
        path = tmp_path / original.name
        path.write_bytes(damaged(content, changes))
        try:
            says = read(path)
        except FeaturePathsError:
            outcomes.append(True)
        else:
            outcomes.append(False)
            assert says == expected

    fuzz()
    assert len(outcomes) >= CASES
    assert sum(outcomes) > CASES // 2
    outcome = "refused with the declared error, or nothing changed that is read"
    faults("bytes of an artefact changed at random", len(outcomes), outcome)
