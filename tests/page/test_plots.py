"""Ensures that a plot is well-formed, escaped and within its axes, whatever the numbers and names are."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starter.page.plots.charts import (
    AREA_WIDTH,
    BOTTOM,
    HEIGHT,
    TOP,
    Plot,
    Series,
    TimeAxis,
    bar_list,
    line_plot,
    stacked_bars,
)
from starter.page.plots.scales import (
    MAX_TIME_TICKS,
    MAX_VALUE_TICKS,
    Unit,
    format_value,
    labelled,
    value_scale,
)

START = datetime(2026, 6, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"><script>alert(1)</script>&'"
VALUES = st.one_of(st.none(), st.floats(0, 1e12), st.integers(0, 9))


def axis(count: int, *, hourly: bool = False) -> TimeAxis:
    """So many days or hours."""
    step = timedelta(hours=1) if hourly else timedelta(days=1)
    return TimeAxis(tuple(START + step * number for number in range(count)), hourly)


def parsed(plot: Plot) -> ElementTree.Element:
    """The plot's SVG, which a browser reads as HTML and this as XML."""
    return ElementTree.fromstring(
        str(plot.svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    )


def paths(root: ElementTree.Element, kind: str) -> list[str]:
    """The shapes of a kind, series by series."""
    found = root.findall(f".//{SVG}path")
    return [one.get("d", "") for one in found if one.get("class", "").startswith(f"{kind} ")]


def check(plot: Plot) -> ElementTree.Element:
    """Check what holds for every plot."""
    root = parsed(plot)
    assert root.get("role") == "img"
    ids = root.get("aria-labelledby", "").split()
    assert [root.find(f"{SVG}{tag}") for tag in ("title", "desc")] == [
        next(one for one in root if one.get("id") == id) for id in ids
    ]
    assert all(one.text for one in root if one.get("id"))
    # Texts of people may say anything; only numbers in attributes must be finite.
    assert not re.search(r'="-?(nan|inf)|\sstyle=|\son\w+=|<script|href', str(plot.svg), re.IGNORECASE), (
        plot.svg
    )
    for path in root.iterfind(f".//{SVG}path"):
        points = re.findall(r"([MLVh])(-?[\d.]+)(?: (-?[\d.]+))?", path.get("d", ""))
        assert points
        for kind, first, second in points:
            if kind in "ML":
                assert 0 <= float(first) <= AREA_WIDTH
            if kind == "h":
                assert 0 <= float(first) <= AREA_WIDTH
            assert 0 <= float(second or (first if kind == "V" else 0)) <= HEIGHT
    for one in root.iter():
        if one.tag == f"{SVG}path":
            continue
        for name in ("x", "x1", "x2", "width"):
            value = one.get(name, "0")
            number = float(value.rstrip("%"))
            assert 0 <= number <= 100.01, (one.tag, name, value)
        for name in ("y", "y1", "y2", "height"):
            assert 0 <= float(one.get(name, "0")) <= float(root.get("height", "0")), (one.tag, name)
    assert all(len(row) == len(plot.columns) for row in plot.rows)
    return root


@settings(max_examples=25)
@given(st.lists(st.lists(VALUES, min_size=7, max_size=7), max_size=8), st.sampled_from(Unit), st.booleans())
def test_plots_over_time_are_within_their_axes(
    rows: list[list[float | None]], unit: Unit, hourly: bool
) -> None:
    series = [Series(f"s{number}", tuple(row)) for number, row in enumerate(rows)]
    upper = tuple(None if value is None else value * 2 for value in rows[0]) if rows else ()
    ranged = [Series("r", tuple(rows[0]), upper), *series] if rows else []
    for plot in (
        line_plot("a", "A", axis(7, hourly=hourly), series, unit),
        line_plot("b", "B", axis(7, hourly=hourly), ranged, unit, "p95"),
        stacked_bars("c", "C", axis(7, hourly=hourly), series, unit),
    ):
        check(plot)
        assert len(plot.legend) == len(plot.columns) - 1 - plot.columns.count("r, p95")
    dots = [one for row in rows for one in row if one is not None]
    root = parsed(line_plot("a", "A", axis(7), series, unit))
    assert sum(path.count("M") for path in paths(root, "plot-dots")) == len(dots)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(), st.floats(0, 1e15)), max_size=12))
def test_list_of_bars_is_within_its_width(entries: list[tuple[str, float]]) -> None:
    texts = [(re.sub(r"[^\x20-\x7e]", "", text), value) for text, value in entries]
    root = check(bar_list("a", "A", texts, Unit.COUNT, ("Cause", "Number")))
    bars = [
        float((one.get("width") or "").rstrip("%"))
        for one in root.findall(f".//{SVG}rect[@class='plot-bar s0']")
    ]
    assert len(bars) == len(texts)
    for (_, value), width in zip(texts, bars, strict=True):
        assert (width > 0) == (value > 0), "a value can be seen, and none cannot"


@settings(max_examples=50)
@given(st.lists(st.one_of(st.floats(0, 1e15), st.floats()), max_size=20), st.sampled_from(Unit))
def test_scale_covers_its_values_with_few_round_ticks(values: list[float], unit: Unit) -> None:
    scale = value_scale(values, unit)
    assert scale.ticks[0] == 0
    assert 2 <= len(scale.ticks) <= MAX_VALUE_TICKS + 1
    finite = [value for value in values if 0 <= value < 1e16]
    assert all(value <= scale.maximum * (1 + 1e-9) for value in finite)
    assert all(0 <= scale.share(value) <= 1 for value in finite)


@pytest.mark.parametrize(
    ("largest", "unit", "ticks"),
    [
        (0, Unit.COUNT, ["0", "1"]),
        (1, Unit.COUNT, ["0", "1"]),
        (3, Unit.COUNT, ["0", "1", "2", "3"]),
        (7, Unit.COUNT, ["0", "2", "4", "6", "8"]),
        (1234, Unit.COUNT, ["0", "500", "1,000", "1,500"]),
        (0, Unit.SECONDS, ["0s", "1s"]),
        (42, Unit.SECONDS, ["0s", "15s", "30s", "45s"]),
        (300, Unit.SECONDS, ["0s", "2m", "4m", "6m"]),
        (5 * 86400, Unit.SECONDS, ["0s", "2d", "4d", "6d"]),
    ],
)
def test_ticks_are_those_that_a_person_would_write(largest: float, unit: Unit, ticks: list[str]) -> None:
    scale = value_scale([largest], unit)
    assert [format_value(tick, unit) for tick in scale.ticks] == ticks


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1500, Unit.COUNT, "1,500"), (1e20, Unit.COUNT, "1e+20"), (0, Unit.SECONDS, "0s"),
        (2.345, Unit.SECONDS, "2.3s"), (12.7, Unit.SECONDS, "13s"), (150, Unit.SECONDS, "2m 30s"),
        (1e300, Unit.SECONDS, "11574074d 1h"),
    ],
)  # fmt: skip
def test_value_is_written_short(value: float, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


@given(st.integers(0, 3000))
def test_labels_are_few_and_include_the_last(count: int) -> None:
    positions = labelled(count)
    assert len(positions) <= MAX_TIME_TICKS
    assert positions == sorted(set(positions))
    assert (positions[-1:] or [count - 1]) == [count - 1] or count == 0


def test_names_are_escaped_in_every_place() -> None:
    series = [Series(HOSTILE, (1.0, 2.0))]
    plots: Sequence[Plot] = (
        line_plot("a", HOSTILE, axis(2), series, Unit.COUNT),
        stacked_bars("b", HOSTILE, axis(2), series, Unit.COUNT),
        bar_list("c", HOSTILE, [(HOSTILE, 1)], Unit.COUNT, ("Cause", "Number")),
    )
    for plot in plots:
        root = check(plot)
        assert root.findtext(f"{SVG}title") == HOSTILE
        assert HOSTILE in (root.findtext(f"{SVG}desc") or "")


def test_missing_day_interrupts_the_line() -> None:
    plot = line_plot("a", "A", axis(5), [Series("s", (1, 2, None, 4, 5))], Unit.COUNT)
    [line] = paths(parsed(plot), "plot-line")
    assert (line.count("M"), line.count("L")) == (2, 2)
    assert [row[0] for row in plot.rows] == ["2026-06-05", "2026-06-04", "2026-06-02", "2026-06-01"]
    assert plot.description == "s: 5 at the end, between 1 and 5."


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one_point_look_right(count: int) -> None:
    for series in ([], [Series("s", (3.0,) * count)], [Series("s", (None,) * count)]):
        for plot in (
            line_plot("a", "A", axis(count), series, Unit.SECONDS),
            stacked_bars("b", "B", axis(count), series, Unit.COUNT),
        ):
            check(plot)
            has_values = bool(count and series and series[0].values[0])
            assert plot.is_empty is not has_values
            assert (plot.description == "There is no data yet.") is not has_values
    assert bar_list("c", "C", [], Unit.COUNT, ("Cause", "Number")).is_empty


def test_stack_has_its_series_above_each_other() -> None:
    plot = stacked_bars("a", "A", axis(1), [Series("s", (3,)), Series("t", (1,))], Unit.COUNT)
    low, high = paths(parsed(plot), "plot-bar")
    base, middle = (HEIGHT - BOTTOM, TOP + (HEIGHT - TOP - BOTTOM) / 4)
    assert low == f"M150 {base}V{middle:g}h700V{base}z"
    assert high == f"M150 {middle:g}V{TOP}h700V{middle:g}z"
    assert plot.rows == (("2026-06-01", "3", "1"),)
