from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interbench.report.plots import PERCENTILES, Axis, radar, ring, spokes, strip_plot


@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=30))
def test_every_value_lies_on_the_axis_in_its_order(values: list[float]) -> None:
    axis = Axis.around(values)
    at = [axis.x(value) for value in sorted(values)]
    assert at == sorted(at)
    assert all(0 <= x <= 100 for x in at)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 10
    assert [tick.x for tick in ticks] == sorted({tick.x for tick in ticks})


def test_wide_spans_are_logarithmic_and_narrow_ones_start_at_nought() -> None:
    wide, narrow = Axis.around([0.33, 1.2, 121.0]), Axis.around([3.0, 5.0])
    assert (wide.low, wide.high, wide.log) == (0.2, 200.0, True)
    assert (narrow.low, narrow.log) == (0.0, False)
    assert [tick.label for tick in wide.ticks()] == ["0.2", "0.5", "1", "2", "5", "10", "20", "50", "100", "200"]
    assert not Axis.around([0.0, 500.0]).log


def test_percentiles_are_marked_in_quarters() -> None:
    assert [(tick.x, tick.label) for tick in PERCENTILES.ticks()] == [
        (0.0, "0"),
        (25.0, "25"),
        (50.0, "50"),
        (75.0, "75"),
        (100.0, "100"),
    ]


def test_a_strip_shows_all_values_and_their_quartiles() -> None:
    plot = strip_plot("Time", "s", "", {"a": [4.0, 1.0, 2.0, 3.0, 5.0], "b": [], "c": [2.0]}, reference=1.0)
    assert plot is not None
    a, b, c = plot.strips
    assert a.box is not None
    assert a.n == len(a.points) == 5
    assert (a.median, a.box.median) == (3.0, plot.axis.x(3.0))
    assert (a.box.q1, a.box.q3) == (plot.axis.x(2.0), plot.axis.x(4.0))
    assert (b.n, b.median, b.box) == (0, None, None)
    assert (c.n, c.median, c.box) == (1, 2.0, None)
    assert plot.reference == plot.axis.x(1.0)


def test_nothing_measured_is_no_plot() -> None:
    assert strip_plot("Time", "s", "", {"a": [], "b": []}) is None


def test_a_radar_breaks_where_a_value_is_missing() -> None:
    keys = ("A", "B", "C", "D")
    whole = radar(0, "x", keys, [100.0, 50.0, 0.0, 50.0])
    assert whole.complete
    assert whole.outline == "M0.0,-100.0L50.0,0.0L0.0,0.0L-50.0,0.0L0.0,-100.0Z"
    broken = radar(0, "x", keys, [100.0, None, 100.0, 100.0])
    assert not broken.complete
    assert broken.outline == "M0.0,100.0L-100.0,0.0L0.0,-100.0"
    assert [says for _, _, says in broken.points] == ["A 100.0", "C 100.0", "D 100.0"]
    assert radar(0, "x", keys, [1.0, None, 1.0, None]).outline == ""


def test_spokes_go_clockwise_from_the_top() -> None:
    top, right, bottom, left = spokes(("A", "B", "C", "D"))
    assert [(s.x, s.y) for s in (top, right, bottom, left)] == [(0, -100), (100, 0), (0, 100), (-100, 0)]
    assert [s.anchor for s in (top, right, bottom, left)] == ["middle", "start", "middle", "end"]
    assert ring(("A", "B", "C", "D"), 50) == "M0.0,-50.0L50.0,0.0L0.0,50.0L-50.0,0.0Z"


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e-9, 1e-9]])
def test_an_axis_without_extent_still_has_one(values: list[float]) -> None:
    axis = Axis.around(values)
    assert axis.high > axis.low
    assert axis.ticks()
