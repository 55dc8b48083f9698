"""Slopes of peak memory: what the rows show of stages whose memory is known."""

import pytest

from benchmarks.memory import SHARE, Measured, slopes

SIZE, PROCESS = 4_000, 50_000_000
COUNTS = 2_000, 8_000, 32_000


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (lambda held: held, [1, 1]),
        (lambda held: min(held, 2**24), [(2**24 - 2_000 * SIZE) / (6_000 * SIZE), 0]),
        (lambda held: min(held, 2**20), [0, 0]),
    ],
    ids=["holds-everything", "buffer-not-full", "buffer-full"],
)
def test_slopes_three_sizes_tell_growth_from_buffer(memory, expected):
    measured = {
        count: {"stage": Measured([PROCESS + memory(count * SIZE), PROCESS + 2**20 + memory(count * SIZE)], SIZE)}
        for count in COUNTS
    }
    results = slopes(measured)
    assert [result.ratio for result in results] == pytest.approx(expected)
    assert [result.met for result in results] == [slope <= SHARE for slope in expected]
    assert all(result.low < result.ratio < result.high for result in results)
    assert "32,000" in results[1].name


def test_slopes_stage_with_two_sizes_one_row():
    measured = {count: {"a": Measured([count * SIZE], SIZE)} for count in COUNTS[:2]}
    measured[COUNTS[2]] = {}
    assert [result.ratio for result in slopes(measured)] == pytest.approx([1])
