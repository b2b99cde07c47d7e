"""The kinds of plots: lines over time, stacked bars over time, and a list of bars.

Texts are at percentages of the width, and shapes in an area that is stretched to it, so that a plot fits into
a phone and its texts keep their size. Colours and fonts are classes of the style sheet, because the
Content-Security-Policy allows no style attribute. The shapes of a series are one path of each kind, because a
page has a budget of bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from starter.page.plots.scales import (
    Scale,
    Unit,
    format_moment,
    format_value,
    labelled,
    value_scale,
)

#: Colours that the style sheet has. Further series start again with the first.
SERIES_COLOURS = 6
#: In pixels, as all heights here: of the whole plot, the room above its first line, and of its labels below.
HEIGHT, TOP, BOTTOM = 240, 24, 28
#: Height of one entry of a list of bars: its text, its bar, and the distance to the next.
ENTRY_HEIGHT, BAR_TOP, BAR_HEIGHT = 44, 22, 8
#: A bar that stands for something is at least this wide, in percent, or high, so that it can be seen.
LEAST_BAR = 0.4
#: Room at the left for the values of the axis, in percent of the width.
LEFT = 8.0
#: The width of the area of the shapes, in its own units.
AREA_WIDTH = 1000
#: The part of a moment's width that its bar takes.
BAR_SHARE = 0.7
#: Longest text above a bar, in characters: it fits into a phone beside its number. The table has all of it.
MAX_ENTRY_TEXT = 44

_AREA = HEIGHT - TOP - BOTTOM


@dataclass(frozen=True)
class Series:
    """A named row of values, one for each moment; None is a gap. `upper` is the end of a range above each."""

    name: str
    values: tuple[float | None, ...]
    upper: tuple[float | None, ...] = ()

    @property
    def numbers(self) -> list[float]:
        """All its values."""
        return [value for value in (*self.values, *self.upper) if value is not None]


@dataclass(frozen=True)
class Plot:
    """A plot, its legend, and the same data as the table beside it.

    `legend` has each name with the number of its colour. `is_empty`: there is nothing to see in the plot.
    """

    id: str
    title: str
    description: str
    svg: Markup
    legend: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_empty: bool


@dataclass(frozen=True)
class TimeAxis:
    """The moments that the values belong to: hours of a day, or days."""

    moments: tuple[datetime, ...]
    hourly: bool = False

    def texts(self) -> list[str]:
        """Return a text for each moment, with the date, for the table."""
        return [
            f"{moment:%Y-%m-%d %H:%M}" if self.hourly else f"{moment:%Y-%m-%d}" for moment in self.moments
        ]

    @property
    def heading(self) -> str:
        """The heading of the column of the moments."""
        return "Hour (UTC)" if self.hourly else "Day (UTC)"

    def middle(self, position: int) -> float:
        """Return where the middle of a moment is, in percent of the plot."""
        return LEFT + self.x(position) / AREA_WIDTH * (100 - LEFT)

    def x(self, position: int) -> float:
        """Return where the middle of a moment is in the area of the shapes."""
        return (position + 0.5) * self.step

    @property
    def step(self) -> float:
        """The width of one moment in the area of the shapes."""
        return AREA_WIDTH / max(1, len(self.moments))


def line_plot(
    id: str, title: str, axis: TimeAxis, series: Sequence[Series], unit: Unit, upper_name: str = ""
) -> Plot:
    """Return dots joined by lines, interrupted by missing values. `upper_name` names the ends of ranges."""
    scale = value_scale([value for one in series for value in one.numbers], unit)
    shapes = [_line(axis, scale, one, number % SERIES_COLOURS) for number, one in enumerate(series)]
    content = [_grid(scale), _area(shapes), _value_labels(scale), _time_labels(axis)]
    columns = [axis.heading]
    for one in series:
        columns += [one.name, f"{one.name}, {upper_name}"] if one.upper else [one.name]
    return _plot(
        id,
        title,
        content,
        HEIGHT,
        description=_describe_series(series, unit),
        legend=[one.name for one in series],
        columns=columns,
        rows=_rows(axis, series, unit),
        is_empty=not any(one.numbers for one in series),
    )


def stacked_bars(id: str, title: str, axis: TimeAxis, series: Sequence[Series], unit: Unit) -> Plot:
    """Return one bar for each moment, with the series above each other."""
    totals = [sum(one.values[position] or 0 for one in series) for position in range(len(axis.moments))]
    scale = value_scale(totals, unit)
    below = [0.0] * len(axis.moments)
    shapes = []
    for number, one in enumerate(series):
        bars = []
        for position, value in enumerate(one.values):
            if value is None or value <= 0:
                continue
            low, high = _y(scale, below[position]), _y(scale, below[position] + value)
            below[position] += value
            left = axis.x(position) - axis.step * BAR_SHARE / 2
            top = min(high, low - LEAST_BAR)
            bars.append(
                f"M{_short(left)} {_short(low)}V{_short(top)}h{_short(axis.step * BAR_SHARE)}V{_short(low)}z"
            )
        shapes.append(_path("plot-bar", number % SERIES_COLOURS, bars))
    content = [_grid(scale), _area(shapes), _value_labels(scale), _time_labels(axis)]
    return _plot(
        id,
        title,
        content,
        HEIGHT,
        description=_describe_series(series, unit),
        legend=[one.name for one in series],
        columns=[axis.heading, *(one.name for one in series)],
        rows=_rows(axis, series, unit),
        is_empty=not any(totals),
    )


def bar_list(
    id: str, title: str, entries: Sequence[tuple[str, float]], unit: Unit, columns: tuple[str, str]
) -> Plot:
    """Return a horizontal bar for each entry, in the given order, with its text above it."""
    largest = max((value for _, value in entries), default=0)
    content = []
    for position, (text, value) in enumerate(entries):
        y = position * ENTRY_HEIGHT
        share = 100 * value / largest if largest > 0 else 0
        width = max(share, LEAST_BAR) if value > 0 else 0
        content.append(
            Markup(
                '<text class="plot-text" x="0" y="{}">{}</text>'
                '<text class="plot-text plot-end" x="100%" y="{}">{}</text>'
                '<rect class="plot-track" x="0" y="{}" width="100%" height="{}" rx="2"/>'
                '<rect class="plot-bar s0" x="0" y="{}" width="{}%" height="{}" rx="2"/>'
            ).format(
                y + 15,
                text if len(text) <= MAX_ENTRY_TEXT else f"{text[: MAX_ENTRY_TEXT - 1]}…",
                y + 15,
                format_value(value, unit),
                y + BAR_TOP,
                BAR_HEIGHT,
                y + BAR_TOP,
                _short(width),
                BAR_HEIGHT,
            )
        )
    named = "; ".join(f"{text}: {format_value(value, unit)}" for text, value in entries)
    return _plot(
        id,
        title,
        content,
        max(1, len(entries)) * ENTRY_HEIGHT,
        description=f"{named}." if named else "There is no data yet.",
        legend=(),
        columns=columns,
        rows=[(text, format_value(value, unit)) for text, value in entries],
        is_empty=not entries,
    )


def _plot(
    id: str,
    title: str,
    content: Sequence[Markup],
    height: int,
    *,
    description: str,
    legend: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    is_empty: bool,
) -> Plot:
    svg = Markup(
        '<svg class="plot" role="img" aria-labelledby="{0}-title {0}-text" width="100%" height="{1}">'
        '<title id="{0}-title">{2}</title><desc id="{0}-text">{3}</desc>{4}</svg>'
    ).format(id, height, title, description, Markup("").join(content))
    return Plot(
        id=id,
        title=title,
        description=description,
        svg=svg,
        legend=tuple((name, number % SERIES_COLOURS) for number, name in enumerate(legend)),
        columns=tuple(columns),
        rows=tuple(rows),
        is_empty=is_empty,
    )


def _grid(scale: Scale) -> Markup:
    parts = []
    for tick in scale.ticks:
        y = _short(_y(scale, tick))
        kind = "plot-base" if tick == 0 else "plot-grid"
        parts.append(Markup('<line class="{}" x1="0" y1="{}" x2="100%" y2="{}"/>').format(kind, y, y))
    return Markup("").join(parts)


def _value_labels(scale: Scale) -> Markup:
    """Return the texts of the value axis. They come after the values, and so before them."""
    label = Markup('<text class="plot-text" x="0" y="{}">{}</text>')
    return Markup("").join(
        label.format(_short(_y(scale, tick) - 4), format_value(tick, scale.unit))
        for tick in scale.ticks
        if tick
    )


def _time_labels(axis: TimeAxis) -> Markup:
    parts = []
    for position in labelled(len(axis.moments)):
        x = axis.middle(position)
        # A text in the middle of the first or last moment would be cut off at the edge.
        kind = "plot-middle" if 8 < x < 92 else "plot-end" if x >= 92 else ""
        x = 100 if kind == "plot-end" else x if kind else 0
        text = format_moment(axis.moments[position], hourly=axis.hourly)
        parts.append(
            Markup('<text class="plot-text {}" x="{}%" y="{}">{}</text>').format(
                kind, _short(x), HEIGHT - 8, text
            )
        )
    return Markup("").join(parts)


def _area(shapes: Sequence[Markup]) -> Markup:
    """Return the area of the shapes, which is stretched to the width of the plot."""
    return Markup(
        '<svg x="{}%" width="{}%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
    ).format(_short(LEFT), _short(100 - LEFT), HEIGHT, AREA_WIDTH, HEIGHT, Markup("").join(shapes))


def _path(kind: str, colour: int, parts: Sequence[str]) -> Markup:
    return (
        Markup('<path class="{} s{}" d="{}"/>').format(kind, colour, "".join(parts)) if parts else Markup("")
    )


def _line(axis: TimeAxis, scale: Scale, series: Series, colour: int) -> Markup:
    lines, ranges, dots = [], [], []
    is_continued = False
    for position, value in enumerate(series.values):
        if value is None:
            is_continued = False
            continue
        x, y = _short(axis.x(position)), _short(_y(scale, value))
        lines.append(f"{'L' if is_continued else 'M'}{x} {y}")
        dots.append(f"M{x} {y}h0")
        is_continued = True
        upper = series.upper[position] if series.upper else None
        if upper is not None:
            ranges.append(f"M{x} {y}V{_short(_y(scale, upper))}")
    return (
        _path("plot-range", colour, ranges)
        + _path("plot-line", colour, lines)
        + _path("plot-dots", colour, dots)
    )


def _rows(axis: TimeAxis, series: Sequence[Series], unit: Unit) -> list[tuple[str, ...]]:
    """Return the latest moment first. Moments at which there was nothing are left out."""
    found = []
    for position, text in enumerate(axis.texts()):
        values: list[float | None] = []
        for one in series:
            values.append(one.values[position])
            if one.upper:
                values.append(one.upper[position])
        if any(values if unit is Unit.COUNT else (value is not None for value in values)):
            found.append((text, *("" if value is None else format_value(value, unit) for value in values)))
    return found[::-1]


def _describe_series(series: Sequence[Series], unit: Unit) -> str:
    parts = [
        f"{one.name}: {format_value(numbers[-1], unit)} at the end, "
        f"between {format_value(min(numbers), unit)} and {format_value(max(numbers), unit)}."
        for one in series
        if (numbers := [value for value in one.values if value is not None])
    ]
    return " ".join(parts) or "There is no data yet."


def _y(scale: Scale, value: float) -> float:
    return TOP + _AREA * (1 - scale.share(value))


def _short(number: float) -> str:
    """Return the number with one decimal at most: a tenth of a pixel is not seen."""
    return f"{number:.1f}".removesuffix(".0")
