import importlib

import pytest

from benchmarks import measure
from benchmarks.measure import Result, speed_ratio
from tests.experiments import ROOT


def test_result_target_lower_or_upper_bound_met():
    assert Result("speed", 1.0, 0.9, 1.1, 1.0).met is True
    assert Result("speed", 0.99, 0.9, 1.1, 1.0).met is False
    assert Result("memory", 0.05, 0.0, 0.1, 0.05, at_most=True).met is True
    assert Result("memory", 0.06, 0.0, 0.1, 0.05, at_most=True).met is False
    assert Result("seconds", 3.0, 2.0, 4.0).met is None


def test_speed_ratio_alternating_rounds_median(monkeypatch):
    calls = []
    seconds = {"ours": iter([1.0, 1.0, 2.0]), "theirs": iter([2.0, 3.0, 2.0])}

    def timed(call):
        call()
        return next(seconds[calls[-1]])

    monkeypatch.setattr(measure, "seconds", timed)
    monkeypatch.setattr(measure, "REST", 0)
    result = speed_ratio("x", lambda: calls.append("ours"), lambda: calls.append("theirs"), 1.5, rounds=3)
    assert (result.ratio, result.low, result.high, result.met) == (2.0, 1.0, 3.0, True)
    assert calls == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")))
def test_benchmark_imports_only_names_that_exist(name):
    importlib.import_module(f"benchmarks.{name}")
