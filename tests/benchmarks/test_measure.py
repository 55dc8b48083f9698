import importlib

import pytest

from benchmarks import __main__ as main
from benchmarks import measure
from benchmarks.measure import Result, failures, speed_ratio
from tests.experiments import ROOT


def test_result_target_lower_or_upper_bound_met():
    assert Result("speed", 1.0, 0.9, 1.1, 1.0).met is True
    assert Result("speed", 0.99, 0.9, 1.1, 1.0).met is False
    assert Result("memory", 0.05, 0.0, 0.1, 0.05, at_most=True).met is True
    assert Result("memory", 0.06, 0.0, 0.1, 0.05, at_most=True).met is False
    assert Result("seconds", 3.0, 2.0, 4.0).met is None


@pytest.mark.parametrize(
    ("ratio", "low", "high", "target", "at_most", "failed"),
    [
        (0.93, 0.90, 0.96, 0.95, False, False),  # misses by 0.02, and its rounds spread over 0.06
        (0.85, 0.84, 0.87, 0.95, False, True),
        (0.96, 0.84, 0.97, 0.95, False, False),
        (3.0, 2.5, 3.25, 2.25, True, False),  # by as much as the spread: not by more
        (3.0, 2.75, 3.25, 2.25, True, True),
        (1.0, 1.0, 1.0, 0.0, True, True),  # one round has no spread
        (0.0, 0.0, 0.0, 0.0, True, False),
        (9.0, 9.0, 9.0, None, True, False),
    ],
)
def test_result_missing_its_target_by_more_than_its_spread_fails(ratio, low, high, target, at_most, failed):
    result = Result("row", ratio, low, high, target, at_most)
    assert result.failed is failed
    assert ("row" in failures([Result("fine", 1, 1, 1, 1), result])) is failed


@pytest.mark.parametrize(("ratio", "code"), [(1.0, 0), (0.5, 1)])
def test_bench_missed_target_exit_code(monkeypatch, tmp_path, capsys, ratio, code):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main.training, "measure", lambda device: [Result("a plain loop", ratio, ratio, ratio, 1.0)])
    monkeypatch.setattr("sys.argv", ["benchmarks", "training"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert bool(ended.value.code) is bool(code)
    assert f"{ratio:.3g}" in capsys.readouterr().out
    assert not code or "a plain loop" in ended.value.code  # which `sys.exit` prints


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
